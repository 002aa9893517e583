"""Modality dropout: who loses what, and that what is lost counts for nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from perceiver.dropping import dropped
from perceiver.model import Perceiver, present
from perceiver.segment import Raw, Segment
from perceiver.train_settings import AudioAugmentation, PixelAugmentation, TrainSettings

Build = Callable[..., Perceiver]
Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]

VIDEO = TrainSettings(video=PixelAugmentation(drop=0.3))
SEEDS = torch.arange(4000) * 7919


def batch(*modalities: str) -> dict[str, Raw]:
    return {modality: Raw(torch.zeros(len(SEEDS), 1)) for modality in modalities}


def test_three_in_ten_videos_are_lost_and_no_sound() -> None:
    changed = dropped(batch("video", "audio"), SEEDS, VIDEO)

    assert changed["video"].there is not None
    assert (~changed["video"].there).float().mean().item() == pytest.approx(0.3, abs=0.03)
    assert changed["audio"].there is None


def test_what_a_sample_loses_depends_on_its_own_seed_alone() -> None:
    whole = dropped(batch("video", "audio"), SEEDS, VIDEO)["video"].there
    some = dropped(batch("video", "audio"), SEEDS[[5, 3]], VIDEO)["video"].there

    assert whole is not None
    assert some is not None
    assert torch.equal(some, whole[[5, 3]])


def test_a_sample_never_loses_everything() -> None:
    both = replace(VIDEO, video=PixelAugmentation(drop=0.6), audio=AudioAugmentation(drop=0.6))

    changed = dropped(batch("video", "audio"), SEEDS, both)

    video, audio = changed["video"].there, changed["audio"].there
    assert video is not None
    assert audio is not None
    assert (video | audio).all()
    lost = (~video).float().mean().item()
    assert lost == pytest.approx(0.6 - 0.36, abs=0.03)  # those that would have lost both kept both
    assert not torch.equal(video, audio)


def test_a_modality_that_stands_alone_is_never_lost() -> None:
    assert dropped(batch("video"), SEEDS, VIDEO)["video"].there is None


def test_without_a_share_nothing_is_marked() -> None:
    changed = dropped(batch("video", "audio"), SEEDS, TrainSettings())

    assert all(raw.there is None for raw in changed.values())


def test_a_lost_modality_does_not_reach_the_answer(build: Build, samples: Samples) -> None:
    model = build("image", "mesh")
    raw = model.collate(samples, None)
    lost = torch.tensor([True, False] * 3 + [True])
    raw["image"] = raw["image"]._replace(there=~lost)
    others = {**raw, "image": raw["image"]._replace(values=255 - raw["image"].values)}

    before, after = model(raw), model(others)

    assert torch.equal(before[lost], after[lost])
    assert (before[~lost] - after[~lost]).abs().min() > 1e-5


def test_training_drops_and_evaluation_does_not(build: Build, samples: Samples) -> None:
    model = build("image", "mesh")
    always = TrainSettings(image=PixelAugmentation(drop=1.0))
    collated = model.collate(samples, None)

    changed = model.augment(collated, torch.arange(7), always)

    assert changed["image"].there is not None
    assert not changed["image"].there.any()
    assert collated["image"].there is None


def test_who_is_there_moves_to_the_device_with_the_values() -> None:
    raw = Raw(torch.zeros(2, 3), None, torch.tensor([True, False])).to("meta")

    assert raw.there is not None
    assert raw.there.device.type == "meta"


def test_a_lost_sound_that_has_a_mask_of_its_own_is_lost_too() -> None:
    own = torch.tensor([[True, True, False], [True, False, False]])

    lost = present(Segment(torch.ones(2, 3, 1), mask=own), torch.tensor([True, False]))

    assert lost.mask is not None
    assert lost.mask.tolist() == [[True, True, False], [False, False, False]]
