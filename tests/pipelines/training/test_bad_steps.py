"""Steps whose loss is no number or explodes: all ranks skip them, go back, and in the end say why."""

import math
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from faults import Fault
from groups import await_each, elsewhere, newest, notes, said, started, train_group

from cluster.mistake import UserError
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import held, loop
from pipelines.training.outside import Outside, Watch
from pipelines.training.state import State
from preprocessing.shards import Shards

WORLD = 2
STEPS = 24


@dataclass(frozen=True)
class Both:
    """Two faults in one run."""

    first: Watch
    second: Watch

    def __call__(self, phase: str, step: int, state: State) -> None:
        self.first(phase, step, state)
        self.second(phase, step, state)


def with_train(settings: RunSettings, **changes: Any) -> RunSettings:
    return replace(settings, train=replace(settings.train, **{"steps": STEPS, **changes}))


def ruin(tmp_path: Path, step: int, *, rank: int = 0, last: int = -1, phase: str = "begin") -> Fault:
    """The weights of a rank become no numbers; with `last`, in every attempt."""
    return Fault(
        kind="ruin", step=step, rank=rank, last=last, phase=phase, mark=tmp_path / f"ruin-{step}-{rank}"
    )


def finite(settings: RunSettings, shards: Shards) -> bool:
    """Whether all checkpoints that there are hold numbers only."""
    checkpoints = Checkpoints.at(Layout.of(settings, shards.digest).checkpoints)
    found = [held(checkpoints.open(name)) for name in checkpoints.sealed()]
    return all(
        bool(one.isfinite().all()) for groups in found for named in groups.values() for one in named.values()
    )


def curve(settings: RunSettings, shards: Shards, name: str) -> dict[int, float]:
    return dict(points.curves(Layout.of(settings, shards.digest).points)[name])


@pytest.mark.slow
def test_weights_that_are_ruined_go_back_on_all_ranks(
    settings: RunSettings, shards: Shards, tmp_path: Path, chance: random.Random
) -> None:
    settings, step, rank = with_train(settings), chance.randrange(4, STEPS - 3), chance.randrange(WORLD)

    assert train_group(settings, shards, WORLD, ruin(tmp_path, step, rank=rank)) == [0, 0]

    # Nobody goes back to the weights at hand, unless there are no earlier ones.
    back = step - (step % 4 or (4 if step > 4 else 0))
    done = newest(settings, shards).record["progress"]
    assert done == {
        "step": STEPS, "learnt": STEPS - 3 - (step - back), "skipped": 3, "streak": 0, "rollbacks": 1,
    }  # fmt: skip
    assert finite(settings, shards)
    assert notes(settings, shards) == [
        *(
            f"step {bad + 1} was not taken: the loss is nan, the gradient's norm nan"
            for bad in range(step, step + 3)
        ),
        f"the weights went back to step {back}; the batches until step {step + 3} are left out",
    ]
    assert curve(settings, shards, "train/skipped")[STEPS] == 3
    assert curve(settings, shards, "train/rollbacks")[STEPS] == 1
    assert math.isfinite(curve(settings, shards, "val/loss")[STEPS])


@pytest.mark.slow
def test_before_the_first_checkpoint_they_go_back_to_the_beginning(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    settings = with_train(settings, steps=5, save_every=10)

    assert train_group(settings, shards, WORLD, ruin(tmp_path, 1, rank=1)) == [0, 0]

    assert "the weights went back to step 0; the batches until step 4 are left out" in notes(settings, shards)
    done = newest(settings, shards).record["progress"]
    assert done == {"step": 5, "learnt": 1, "skipped": 3, "streak": 0, "rollbacks": 1}
    assert finite(settings, shards)


@pytest.mark.slow
def test_a_kill_amid_ruin_changes_not_one_bit(
    settings: RunSettings, shards: Shards, tmp_path: Path, chance: random.Random
) -> None:
    """The ruin comes at the same step of every attempt, as that of a sick batch would."""
    whole = with_train(elsewhere(settings, tmp_path / "whole"))
    step = chance.randrange(4, STEPS - 4)
    bad = ruin(tmp_path, step, rank=1, last=step)
    assert train_group(whole, shards, WORLD, bad) == [0, 0]

    for at in range(5):
        run = elsewhere(whole, tmp_path / f"killed-{at}")
        phase = chance.choice(["begin", "scored", "agreed", "taken"])
        kill = Fault(
            kind="kill",
            step=step + at,
            phase=phase,
            rank=chance.randrange(WORLD),
            mark=tmp_path / f"kill-{at}",
        )
        first, again = (train_group(run, shards, WORLD, Both(bad, kill)) for _ in range(2))

        assert (-9 in first, again) == (True, [0, 0]), kill
        assert newest(run, shards).weights == newest(whole, shards).weights, kill
        assert newest(run, shards).record["progress"] == newest(whole, shards).record["progress"], kill


@pytest.mark.slow
def test_ruin_at_every_step_stops_with_the_report(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    settings = with_train(settings)

    with started(settings, shards, WORLD, ruin(tmp_path, 6, rank=1, last=STEPS)) as ranks:
        ended = await_each(ranks)

    assert ended == [1, 1]
    for rank in range(WORLD):
        assert (
            "The loss is nan (guessing's is 1.1) at step 15, the 3. such step in a row; 9 steps were not "
            "taken in all, and the weights went back to a checkpoint 2 times. Lower train.rate"
        ) in said(settings, shards, rank)
    assert finite(settings, shards)
    assert newest(settings, shards).record["progress"]["learnt"] == 4


@pytest.mark.parametrize(("rate", "what"), [(1e3, r"The loss is \d"), (1e20, "The loss is nan")])
@pytest.mark.parametrize("save_every", [1, 4])
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_a_rate_at_which_the_loss_explodes_ends_with_the_report_and_finite_checkpoints(
    settings: RunSettings, shards: Shards, save_every: int, optimizer: str, rate: float, what: str
) -> None:
    settings = with_train(settings, rate=rate, save_every=save_every, optimizer=optimizer, warmup=0.0)

    with pytest.raises(UserError, match="the weights went back to a checkpoint 2 times") as stopped:
        loop(settings, shards.digest, Outside(publish=lambda _: None))

    stopped.match(what)
    assert "Lower train.rate" in str(stopped.value)
    assert finite(settings, shards)


def test_weights_that_are_no_numbers_are_never_saved(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    """Ruined behind a step that was healthy, just before its checkpoint."""
    heard: list[str] = []
    settings = with_train(settings)

    loop(
        settings, shards.digest,
        Outside(publish=lambda _: None, note=heard.append, watch=ruin(tmp_path, 7, phase="taken")),
    )  # fmt: skip

    assert heard[0] == "the weights of step 8 are not all numbers, and are not saved"
    assert "the weights went back to step 4; the batches until step 11 are left out" in heard
    assert finite(settings, shards)
    assert newest(settings, shards).record["progress"]["rollbacks"] == 1


def test_a_stop_amid_bad_steps_saves_none_of_them(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    whole = with_train(elsewhere(settings, tmp_path / "whole"))
    stopped = with_train(elsewhere(settings, tmp_path / "stopped"))
    bad = ruin(tmp_path, 9, last=9)
    asked: list[bool] = []

    def wanted() -> bool:
        asked.append(True)
        return len(asked) == 11

    loop(whole, shards.digest, Outside(publish=lambda _: None, watch=bad))
    assert not loop(
        stopped, shards.digest,
        Outside(publish=lambda _: None, watch=bad, stop_wanted=wanted, asked_seconds=0.0),
    )  # fmt: skip
    reached = newest(stopped, shards).step
    assert loop(stopped, shards.digest, Outside(publish=lambda _: None, watch=bad))

    assert reached == 8
    assert newest(stopped, shards).weights == newest(whole, shards).weights
    assert newest(stopped, shards).record["progress"] == newest(whole, shards).record["progress"]


@pytest.mark.parametrize("step", [STEPS - 1, STEPS - 2])
def test_a_run_whose_last_steps_are_bad_ends_with_good_weights(
    settings: RunSettings, shards: Shards, tmp_path: Path, step: int
) -> None:
    settings = with_train(settings)

    assert loop(settings, shards.digest, Outside(publish=lambda _: None, watch=ruin(tmp_path, step)))

    found = newest(settings, shards)
    assert (found.step, found.record["progress"]["learnt"], found.record["progress"]["rollbacks"]) == (
        STEPS,
        20,
        1,
    )
    assert finite(settings, shards)
