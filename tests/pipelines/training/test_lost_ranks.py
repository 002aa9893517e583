"""A rank that hangs, freezes, fails or is slow: the group ends, the next goes on, and not one bit differs."""

import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
from faults import Fault
from groups import await_each, elsewhere, learnt_curves, newest, said, started, train_group

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.sealed import numbers
from preprocessing.shards import Shards

pytestmark = pytest.mark.slow

WORLD = 2
PHASES = ("begin", "scored", "agreed", "taken")


@pytest.fixture
def undisturbed(settings: RunSettings, shards: Shards, tmp_path: Path) -> RunSettings:
    """The same run, trained to its end by two ranks without any fault."""
    whole = elsewhere(settings, tmp_path / "undisturbed")
    assert train_group(whole, shards, WORLD) == [0, 0]
    return whole


def assert_alike(run: RunSettings, undisturbed: RunSettings, shards: Shards) -> None:
    assert newest(run, shards).weights == newest(undisturbed, shards).weights
    assert learnt_curves(run, shards) == learnt_curves(undisturbed, shards)


def test_a_rank_that_hangs_ends_with_all_others(
    settings: RunSettings, undisturbed: RunSettings, shards: Shards, tmp_path: Path, chance: random.Random
) -> None:
    """By the watchdog, or as whom it waits for is gone; nobody kills it, and stderr has where it stood."""
    run = elsewhere(settings, tmp_path / "hung")
    # Longer than a busy machine needs to start; the next start has all the time that it wants.
    impatient = replace(run, cluster=replace(run.cluster, hang_seconds=9.0))
    rank = chance.randrange(WORLD)
    hang = Fault(
        kind="hang",
        rank=rank,
        step=chance.randrange(1, 12),
        phase=chance.choice(PHASES),
        mark=tmp_path / "mark",
    )

    with started(impatient, shards, WORLD, hang) as ranks:
        first = await_each(ranks)
    again = train_group(run, shards, WORLD)

    assert (first, again) == ([1, 1], [0, 0]), hang
    assert "Timeout (0:00:10)!" in said(run, shards, rank)
    assert 'faults.py", line' in said(run, shards, rank)
    assert "in happen" in said(run, shards, rank)
    assert_alike(run, undisturbed, shards)


@pytest.mark.parametrize("phase", ["scored", "saving", "saved"])
def test_a_frozen_attempt_that_thaws_is_fenced_off(
    settings: RunSettings, undisturbed: RunSettings, shards: Shards, tmp_path: Path, phase: str
) -> None:
    run = elsewhere(settings, tmp_path / "frozen")
    # At the third step nothing is being saved: an attempt that freezes amid its seal may leave it.
    step = 3 if phase == "scored" else 4
    freeze = Fault(kind="freeze", step=step, phase=phase, mark=tmp_path / "mark")
    checkpoints = Checkpoints.at(Layout.of(run, shards.digest).checkpoints)

    with started(run, shards, WORLD, freeze) as ranks:
        while not freeze.mark.exists() or state_of(ranks[0].pid) != "T":
            time.sleep(0.01)
        newer = train_group(run, shards, WORLD)
        sealed = checkpoints.sealed()
        os.kill(ranks[0].pid, signal.SIGCONT)
        older = await_each(ranks)

    assert (newer, older[0]) == ([0, 0], 1)
    assert "OvertakenError: Attempt 2 at this training has begun, so attempt 1 ends" in said(run, shards, 0)
    assert [numbers(name) for name in sealed] == [(12, 2), (8, 2)]
    assert checkpoints.sealed() == sealed
    assert_alike(run, undisturbed, shards)


def state_of(pid: int) -> str:
    """The kernel's letter: T is stopped."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_an_exception_on_one_rank_ends_the_group_and_costs_no_bit(
    settings: RunSettings, undisturbed: RunSettings, shards: Shards, tmp_path: Path, chance: random.Random
) -> None:
    run = elsewhere(settings, tmp_path / "failed")
    rank, step = chance.randrange(WORLD), chance.randrange(12)
    fault = Fault(kind="raise", rank=rank, step=step, phase=chance.choice(PHASES), mark=tmp_path / "mark")

    with started(run, shards, WORLD, fault) as ranks:
        first = await_each(ranks)
    again = train_group(run, shards, WORLD)

    assert (first, again) == ([1, 1], [0, 0]), fault
    assert f"InjectedError: rank {rank} at step {step}" in said(run, shards, rank)
    assert_alike(run, undisturbed, shards)


@pytest.mark.parametrize("rank", range(WORLD))
def test_a_slow_rank_shows_in_its_own_percentiles(
    settings: RunSettings, undisturbed: RunSettings, shards: Shards, tmp_path: Path, rank: int
) -> None:
    """The others wait for it in their backward pass, which is nobody's own time."""
    run = elsewhere(settings, tmp_path / "slow")
    slow = Fault(kind="slow", rank=rank, step=0, last=99, mark=tmp_path / "mark")

    assert train_group(run, shards, WORLD, slow) == [0, 0]

    curves = points.curves(Layout.of(run, shards.digest).points)
    own = [[value for _, value in curves[f"workers/{one:03d}_p50_ms"]] for one in range(WORLD)]
    assert min(own[rank]) > 50
    assert sorted(own[1 - rank])[1] < min(own[rank])
    assert_alike(run, undisturbed, shards)
