"""The training's benchmark compares loops that do the same work, and its parts run."""

from dataclasses import replace

import pytest
import torch

from benchmarks.bare import Pace, distance, in_turns
from benchmarks.surviving import saved
from benchmarks.training import cell, table
from pipelines.settings import RunSettings
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.state import State
from preprocessing.shards import Shards

pytestmark = pytest.mark.slow


@pytest.fixture
def longer(settings: RunSettings) -> RunSettings:
    """A run that a stop, for which is asked every other second, ends early or late."""
    train = replace(settings.train, steps=400, save_every=20, evaluate_every=100, batch=16)
    return replace(settings, train=train)


def test_the_loop_by_hand_learns_the_same_weights_as_ours(longer: RunSettings, shards: Shards) -> None:
    threads = torch.get_num_threads()
    try:
        took = in_turns(longer, Pace(turn=4, block=20, blocks=2))
    finally:
        torch.set_num_threads(threads)

    assert took["weights_differ"] < 1e-6
    assert all(len(took["ms_a_step"][who]) == 2 for who in ("bare", "ours"))
    assert min(ms for who in ("bare", "ours") for ms in took["ms_a_step"][who]) > 0
    assert set(took["parts_ms_a_step"]) == {"data", "agreement", "accounts", "points", "snapshots"}


def test_weights_that_are_not_the_same_are_apart(settings: RunSettings, shards: Shards) -> None:
    one, other = (
        State.fresh(replace(settings, seed=seed), shards, torch.device("cpu")).model for seed in (0, 1)
    )

    assert distance(one, one) == 0
    assert distance(one, other) > 0.1


@pytest.mark.usefixtures("shards")
def test_a_checkpoint_is_sealed_and_timed_in_every_round(settings: RunSettings) -> None:
    threads = torch.get_num_threads()
    try:
        took = saved(settings, rounds=2)
    finally:
        torch.set_num_threads(threads)

    found, _ = Checkpoints.at(f"{settings.workspace}/checkpoints").newest()
    assert found is not None
    assert found.step == 2
    assert took["bytes"] >= 4 * 4 * took["parameters"]
    for still, sealed in zip(took["stands_still"], took["sealed_after"], strict=True):
        assert 0 < still < sealed


def test_a_table_has_a_line_a_figure() -> None:
    text = table("overhead", [{"case": "digits", "ms_a_step": [2.0, 1.0, 3.0]}])

    assert text.splitlines()[2].split() == ["ms", "a", "step", *cell([2.0, 1.0, 3.0]).split()]
