"""Figures of the validation split: each sample once, whatever the number of ranks."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from groups import elsewhere, train_group

from pipelines.layout import Layout
from pipelines.models.figures import figures
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from pipelines.training.validating import rise, validate
from pipelines.training.watchdog import Watchdog
from preprocessing.reading import Reader
from preprocessing.shards import Shards

ALONE = Ranks(0, 1, torch.device("cpu"))


@pytest.fixture
def state(settings: RunSettings, shards: Shards) -> State:
    """Weights that give each class another share."""
    state = State.fresh(settings, shards, ALONE.device)
    with torch.no_grad():
        for parameter in (*state.model.parameters(), *state.kept.parameters()):
            parameter.add_(0.1 * torch.linspace(-1, 1, parameter.numel()).view_as(parameter))
    return state


def validated(state: State, shards: Shards, **train: Any) -> dict[str, float]:
    state.settings = replace(state.settings, train=replace(state.settings.train, **train))
    return validate(state, Reader(shards, "val"), ALONE, Watchdog(state.settings))


@pytest.mark.parametrize("microbatch", [1, 5, 100])
def test_figures_are_those_of_the_weights_that_are_kept(
    state: State, shards: Shards, microbatch: int
) -> None:
    reader = Reader(shards, "val")
    pixels = np.stack([sample["image"] for sample in reader.read(range(len(reader)))])
    model = state.kept.eval()
    logits = model(model.collate([{"image": one} for one in pixels], None))

    found = validated(state, shards, microbatch=microbatch)

    wanted = figures(reader.labels, logits.detach().softmax(1).numpy(), "val")
    assert found == pytest.approx(wanted)
    assert 0.0 < found["val/accuracy"] < 1.0
    assert state.kept.training


def test_the_average_is_evaluated_and_not_the_last_weights(state: State, shards: Shards) -> None:
    before = validated(state, shards)
    with torch.no_grad():
        state.model.head.weight.zero_()

    assert validated(state, shards) == before


def test_a_split_of_several_labels_gets_a_mean_average_precision(
    state: State, shards: Shards, settings: RunSettings
) -> None:
    reader = Reader(shards, "val")
    reader.labels = np.eye(3, dtype=np.uint8)[reader.labels] | np.array([1, 0, 0], np.uint8)
    state.model.labels = state.kept.labels = "several"

    found = validate(state, reader, ALONE, Watchdog(settings))

    assert list(found) == ["val/mAP", "val/accuracy", "val/loss"]
    assert 0.3 < found["val/mAP"] < 1.0


@pytest.mark.parametrize("losses", [[], [1.0], [1.0, 0.5], [1.0, 0.5, 0.54], [0.0, 0.0]])
def test_of_a_loss_that_stays_low_nothing_is_said(losses: list[float]) -> None:
    assert not rise([*enumerate(losses)])


def test_of_a_loss_that_was_lower_before_it_is_said_when_and_what_helps() -> None:
    assert re.fullmatch(
        r"val/loss was 0\.412 at step 400 and is 0\.6 in the end: .*Lower train\.epochs, augment more .*",
        rise([(200, 0.7), (400, 0.4123), (600, 0.6)]),
    )


@dataclass(frozen=True)
class Same:
    """The weights stay as `state` has them, so that what is found differs by the ranks alone."""

    def __call__(self, phase: str, step: int, state: State) -> None:
        if phase == "taken":
            with torch.no_grad():
                for parameter in state.kept.parameters():
                    values = torch.linspace(-1, 1, parameter.numel()).view_as(parameter)
                    parameter.copy_(values * (0.3 + 0.01 * step))


@pytest.mark.slow
def test_ranks_find_together_what_one_process_finds(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    """5 of them have 12 samples: some three, some two."""
    world = 5
    settings = replace(settings, train=replace(settings.train, steps=2, evaluate_every=1))
    found = []
    for ranks in (1, world):
        run = elsewhere(settings, tmp_path / str(ranks))
        assert train_group(run, shards, ranks, Same()) == [0] * ranks
        curves = points.curves(Layout.of(run, shards.digest).points)
        found.append({name: dict(curve) for name, curve in curves.items() if name.startswith("val/")})

    one, several = found
    assert shards.counts["val"] % world
    assert one.keys() == several.keys() == {"val/accuracy", "val/recall", "val/loss"}
    for name, values in one.items():
        assert several[name] == pytest.approx(values, rel=1e-5), name
    assert len({*one["val/loss"].values()}) == 2
