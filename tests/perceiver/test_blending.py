"""MixUp and CutMix: pairs alone decide, shares are those of the values, and the draw is Beta."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from perceiver.blending import blended, symmetric_beta
from perceiver.model import Perceiver
from perceiver.segment import Raw
from perceiver.train_settings import AudioAugmentation, PixelAugmentation, TrainSettings

BOTH = TrainSettings(mixup=0.4, cutmix=1.0)
MIXUP, CUTMIX = TrainSettings(mixup=0.4), TrainSettings(cutmix=1.0)
WAYS = {"mixup": MIXUP, "cutmix": CUTMIX, "both": BOTH}
COUNT = 40
SEEDS = torch.arange(COUNT) * 7919 + 3
TARGETS = torch.eye(COUNT)
"""Each sample a class of its own, so that the shares tell who is in it."""


def filled(*shape: int) -> Tensor:
    """Sample k holds nothing but k."""
    return torch.arange(COUNT).view(-1, *[1] * len(shape)).expand(-1, *shape).contiguous()


def batch() -> dict[str, Raw]:
    spans = torch.tensor([[0, 5], [3, 12]]).repeat(COUNT // 2, 1)
    return {
        "image": Raw(filled(8, 9, 3).to(torch.uint8)),
        "video": Raw(
            filled(4, 6, 5, 3).to(torch.uint8), torch.tensor([[0, 4], [1, 3]]).repeat(COUNT // 2, 1)
        ),
        "audio": Raw(filled(12, 2).to(torch.int16), spans),
    }


@pytest.mark.parametrize("way", WAYS)
def test_a_result_depends_on_a_pair_and_its_seeds_alone(way: str) -> None:
    whole, targets = blended(batch(), TARGETS, SEEDS, WAYS[way])
    rows = [10, 11, 4, 5, 30, 31]

    some = {
        name: raw._replace(values=raw.values[rows], spans=None if raw.spans is None else raw.spans[rows])
        for name, raw in batch().items()
    }
    few, their = blended(some, TARGETS[rows], SEEDS[rows], WAYS[way])

    assert torch.equal(their, targets[rows])
    for name, raw in few.items():
        assert torch.equal(raw.values, whole[name].values[rows])


@pytest.mark.parametrize("way", WAYS)
def test_partners_in_the_other_order_are_the_same_two_samples(way: str) -> None:
    turned = torch.arange(COUNT) ^ 1
    raw = batch()["image"]

    there, targets = blended({"image": raw}, TARGETS, SEEDS, WAYS[way])
    back, their = blended({"image": Raw(raw.values[turned])}, TARGETS[turned], SEEDS[turned], WAYS[way])

    assert torch.equal(back["image"].values[turned], there["image"].values)
    assert torch.equal(their[turned], targets)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("modality", ["image", "video", "audio"])
def test_targets_are_the_shares_of_the_values(way: str, modality: str) -> None:
    """Each value is its sample's number, so that their mean tells the share."""
    changed, targets = blended({modality: batch()[modality]}, TARGETS, SEEDS, WAYS[way])

    numbers = torch.arange(COUNT, dtype=torch.float32)
    torch.testing.assert_close(changed[modality].values.float().flatten(1).mean(1), targets @ numbers)
    torch.testing.assert_close(targets.sum(1), torch.ones(COUNT))
    within = targets.diagonal() + targets[torch.arange(COUNT), torch.arange(COUNT) ^ 1]
    torch.testing.assert_close(within, torch.ones(COUNT))
    assert targets.diagonal().std() > 0.15


def test_targets_of_several_modalities_are_their_mean() -> None:
    changed, targets = blended(batch(), TARGETS, SEEDS, CUTMIX)

    numbers = torch.arange(COUNT, dtype=torch.float32)
    means = [raw.values.float().flatten(1).mean(1) for raw in changed.values()]
    torch.testing.assert_close(torch.stack(means).mean(0), targets @ numbers)


def test_an_odd_last_row_stays_as_it_is() -> None:
    pixels = torch.randint(0, 256, (5, 4, 4, 3), dtype=torch.uint8)

    for first, settings in product(range(30), WAYS.values()):
        changed, targets = blended({"image": Raw(pixels)}, torch.eye(5), SEEDS[first : first + 5], settings)
        assert torch.equal(changed["image"].values[4], pixels[4].float())
        assert torch.equal(targets[4], torch.eye(5)[4])


def test_mixup_mixes_every_value_alike() -> None:
    changed, targets = blended(batch(), TARGETS, SEEDS, MIXUP)

    wanted = targets @ torch.arange(COUNT, dtype=torch.float32)
    for raw in changed.values():
        spread = raw.values.flatten(1)
        torch.testing.assert_close(spread, wanted[:, None].expand_as(spread))


def test_cutmix_puts_a_box_of_the_partner_into_all_frames() -> None:
    changed, _ = blended(batch(), TARGETS, SEEDS, CUTMIX)
    others = (torch.arange(COUNT) ^ 1).float()

    video = changed["video"].values
    theirs = video == others.view(-1, 1, 1, 1, 1)
    assert (theirs | (video == torch.arange(COUNT).float().view(-1, 1, 1, 1, 1))).all()
    assert torch.equal(theirs, theirs[:, :1, :, :, :1].expand_as(theirs))
    rows, columns = theirs[:, 0, :, :, 0].any(2), theirs[:, 0, :, :, 0].any(1)
    assert torch.equal(theirs[:, 0, :, :, 0], rows[:, :, None] & columns[:, None, :])
    for along in (rows, columns):
        assert (along.int().diff(dim=1).abs().sum(1) <= 2).all()
    assert len({one.numpy().tobytes() for one in theirs}) > 10


def test_cutmix_of_a_sound_puts_in_a_stretch_of_time() -> None:
    changed, _ = blended({"audio": batch()["audio"]}, TARGETS, SEEDS, CUTMIX)
    theirs = changed["audio"].values == (torch.arange(COUNT) ^ 1).float().view(-1, 1, 1)

    assert torch.equal(theirs[..., 0], theirs[..., 1])
    assert (theirs[..., 0].int().diff(dim=1).abs().sum(1) <= 2).all()


@pytest.mark.parametrize("way", WAYS)
def test_real_is_what_either_clip_has(way: str) -> None:
    changed, _ = blended(batch(), TARGETS, SEEDS, WAYS[way])

    for modality, span in (("audio", [0, 12]), ("video", [0, 4])):
        spans = changed[modality].spans
        assert spans is not None
        assert spans.tolist() == [span] * COUNT
    assert changed["image"].spans is None


def test_who_lacks_a_modality_lacks_it_still() -> None:
    there = torch.tensor([True, False, False, True]).repeat(COUNT // 4)
    before = batch()
    before["video"] = before["video"]._replace(there=there)

    changed, _ = blended(before, TARGETS, SEEDS, BOTH)

    assert changed["video"].there is there
    assert changed["image"].there is None


def test_both_ways_have_half_of_the_pairs_each() -> None:
    pixels, seeds = (
        torch.tensor([0, 1]).repeat(1000).view(-1, 1, 1, 1).expand(-1, 6, 6, 3),
        torch.arange(2000),
    )

    changed, _ = blended({"image": Raw(pixels)}, torch.ones(2000, 1), seeds, BOTH)

    mixed = ((changed["image"].values > 0) & (changed["image"].values < 1)).flatten(1).any(1)
    assert mixed.float().mean().item() == pytest.approx(0.5, abs=0.07)
    assert torch.equal(mixed[::2], mixed[1::2])


def test_without_settings_nothing_changes() -> None:
    before = batch()

    changed, targets = blended(before, TARGETS, SEEDS, TrainSettings())

    assert targets is TARGETS
    assert all(changed[name] is before[name] for name in before)


def test_point_clouds_are_refused() -> None:
    with pytest.raises(ValueError, match="mesh cannot be blended: image, video, audio can"):
        blended({"mesh": Raw(torch.zeros(2, 5, 3))}, torch.eye(2), SEEDS[:2], MIXUP)


@pytest.mark.parametrize("alpha", [0.1, 0.2, 0.5, 1.0, 4.0])
def test_shares_are_of_a_beta_distribution(alpha: float) -> None:
    drawn = symmetric_beta(torch.arange(20_000) * 31 + 7, "share", alpha)

    marks = np.linspace(0.001, 0.999, 99)
    below = (drawn[:, None].numpy() <= marks).mean(0)
    np.testing.assert_allclose(below, stats.beta(alpha, alpha).cdf(marks), atol=0.012)
    assert ((drawn >= 0) & (drawn <= 1)).all()


Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]


def test_a_blended_batch_of_every_kind_is_learnt_from(
    build: Callable[..., Perceiver], samples: Samples
) -> None:
    """Spectrograms that SpecAugment has made already, waveforms, clips of other lengths."""
    for kind in ("mel", "wave"):
        model = build("image", kind, "video")
        settings = replace(
            BOTH, video=PixelAugmentation(drop=0.5), audio=AudioAugmentation(time_masks=1, bin_masks=1)
        )
        raw = model.collate([{**sample, "audio": sample[kind]} for sample in samples], SEEDS[:7])
        augmented = model.augment(raw, SEEDS[:7], settings)

        changed, targets = blended(augmented, torch.eye(7), SEEDS[:7], settings)
        answer = model(changed)

        assert answer.isfinite().all()
        assert not torch.allclose(answer[:6], model(augmented)[:6])
        assert targets.shape == (7, 7)


def test_augmentation_of_a_sample_depends_on_its_partner_at_most(
    build: Callable[..., Perceiver], samples: Samples
) -> None:
    model = build("image", "mel", "video")
    everything = TrainSettings(
        mixup=0.3, cutmix=0.5, audio=AudioAugmentation(time_masks=2, bin_masks=2, drop=0.3),
        image=PixelAugmentation(area=0.3, shift=1, flip=0.5, operations=2, saturation=0.3, erase=0.5),
        video=PixelAugmentation(area=0.3, flip=0.5, operations=2, brightness=0.3, erase=0.5, drop=0.3),
    )  # fmt: skip
    given = [{**sample, "audio": sample["mel"]} for sample in samples[:6]]

    def made(rows: list[int]) -> tuple[dict[str, Raw], Tensor]:
        seeds = SEEDS[rows]
        raw = model.augment(model.collate([given[row] for row in rows], seeds), seeds, everything)
        return blended(raw, torch.eye(6)[rows], seeds, everything)

    whole, targets = made(list(range(6)))
    pair, their = made([2, 3])

    assert torch.equal(their, targets[2:4])
    for name, raw in pair.items():
        torch.testing.assert_close(raw.values, whole[name].values[2:4], rtol=0, atol=1e-3)
        for part, of_all in zip(raw[1:], whole[name][1:], strict=True):
            assert part is None if of_all is None else torch.equal(part, of_all[2:4])
