"""Whatever interrupts a training, it ends like one that nothing has interrupted, bit for bit."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
from faults import Fault
from groups import elsewhere, learnt_curves, newest, train_group

from pipelines.settings import RunSettings
from preprocessing.shards import Shards

pytestmark = pytest.mark.slow

PHASES = ("begin", "scored", "agreed", "taken", "saving", "saved")
WORLD = 2


@pytest.fixture
def settings(settings: RunSettings) -> RunSettings:
    """Steps enough after the last commit that is struck: the run is not over before the kill."""
    return replace(settings, train=replace(settings.train, steps=16))


@pytest.fixture
def undisturbed(settings: RunSettings, shards: Shards, tmp_path: Path) -> RunSettings:
    """The same run, trained to its end by two ranks without any fault."""
    whole = elsewhere(settings, tmp_path / "undisturbed")
    assert train_group(whole, shards, WORLD) == [0, 0]
    return whole


def random_fault(chance: random.Random, settings: RunSettings, mark: Path) -> Fault:
    """A kill of any rank at any step and phase; those that belong to a commit, at a step that has one."""
    phase = chance.choice(PHASES)
    commit = phase in ("saving", "saved")
    step = chance.choice([4, 8]) if commit else chance.randrange(settings.train.steps)
    # Only the first rank writes; a kill a little after the hand-over finds it writing.
    rank = 0 if phase == "saved" else chance.randrange(WORLD)
    delay = chance.uniform(0, 0.02) if commit else 0.0
    return Fault(kind="kill", rank=rank, step=step, phase=phase, mark=mark, delay=delay)


def test_twenty_random_kills_change_not_one_bit(
    settings: RunSettings, undisturbed: RunSettings, shards: Shards, tmp_path: Path, chance: random.Random
) -> None:
    for number in range(20):
        run = elsewhere(settings, tmp_path / f"killed-{number}")
        fault = random_fault(chance, settings, tmp_path / f"mark-{number}")

        first = train_group(run, shards, WORLD, fault)
        again = train_group(run, shards, WORLD)

        assert fault.mark.exists(), fault
        assert -9 in first, (fault, first)
        assert again == [0, 0], fault
        assert newest(run, shards).weights == newest(undisturbed, shards).weights, fault
        assert learnt_curves(run, shards) == learnt_curves(undisturbed, shards), fault
