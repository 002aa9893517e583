"""The loop of one rank: it learns, it goes on as if it had never stopped, and ranks add up to one process."""

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from groups import elsewhere, learnt_curves, newest, train_group

from cluster.mistake import UserError
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking.points import Point
from pipelines.training.checkpoints import OvertakenError
from pipelines.training.every import Every, due
from pipelines.training.loop import loop
from pipelines.training.outside import Outside, Watch, unwatched
from pipelines.training.pulse import accounts, goodput
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from preprocessing.shards import Shards


class KillError(Exception):
    """Stands for a kill: what comes after it does not happen."""


def points_of(settings: RunSettings, shards: Shards, watch: Watch = unwatched) -> list[Point]:
    points: list[Point] = []
    loop(settings, shards.digest, Outside(publish=points.append, watch=watch))
    return points


def curve(points: list[Point], name: str) -> dict[float, float]:
    return {point["step"]: point[name] for point in points if name in point}


def killing(at: int, phase: str = "taken") -> Watch:
    def watch(seen: str, step: int, state: State) -> None:
        if (seen, step) == (phase, at):
            raise KillError

    return watch


def with_train(settings: RunSettings, **changes: Any) -> RunSettings:
    return replace(settings, train=replace(settings.train, **changes))


def test_a_small_run_learns_and_ends_with_a_checkpoint(settings: RunSettings, shards: Shards) -> None:
    settings = with_train(settings, steps=60)

    points = points_of(settings, shards)

    losses, accuracy = curve(points, "train/loss"), curve(points, "val/accuracy")
    assert losses[60] < 0.5 * losses[1]
    assert accuracy[60] > 0.9
    found = newest(settings, shards)
    assert (found.step, found.record["samples_seen"]) == (60, 60 * 12)


@pytest.mark.parametrize("step", [0, 4, 5, 11])
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(
    settings: RunSettings, shards: Shards, tmp_path: Path, step: int, optimizer: str
) -> None:
    settings = with_train(settings, optimizer=optimizer)
    whole = elsewhere(settings, tmp_path / "whole")
    whole_points = points_of(whole, shards)

    with pytest.raises(KillError):
        points_of(settings, shards, killing(step))
    rest = points_of(settings, shards)

    assert newest(settings, shards).weights == newest(whole, shards).weights
    for name in ("train/loss", "val/loss"):
        again = curve(rest, name)
        assert again
        assert again.items() <= curve(whole_points, name).items()


@pytest.mark.slow
def test_a_stop_between_two_points_changes_no_mean(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    settings = with_train(settings, steps=600, save_every=700, evaluate_every=700)
    whole = elsewhere(settings, tmp_path / "whole")
    expected = points_of(whole, shards)
    asked: list[bool] = []

    def wanted() -> bool:
        asked.append(True)
        return len(asked) == 31  # in the 31st step; a point comes every third

    stop = Outside(publish=lambda point: None, stop_wanted=wanted, asked_seconds=0.0)
    reached_end = loop(settings, shards.digest, stop)
    reached = newest(settings, shards)
    rest = points_of(settings, shards)

    assert reached_end is False
    assert (reached.step, reached.record["unread"]["steps"]) == (31, 1)
    assert curve(rest, "train/loss").items() <= curve(expected, "train/loss").items()
    assert newest(settings, shards).weights == newest(whole, shards).weights


def test_every_curve_of_training_and_validation_can_be_drawn_over_samples_seen(
    settings: RunSettings, shards: Shards
) -> None:
    points = points_of(settings, shards)

    seen = curve(points, "train/samples_seen")
    assert seen == {step: 12 * step for step in range(1, 13)}
    assert curve(points, "train/loss").keys() | curve(points, "val/loss").keys() <= seen.keys()


def test_a_finished_run_takes_no_further_step(settings: RunSettings, shards: Shards) -> None:
    points_of(settings, shards)

    points = points_of(settings, shards)

    assert not curve(points, "train/loss")


def test_a_run_with_more_steps_goes_on_from_its_last(settings: RunSettings, shards: Shards) -> None:
    points_of(settings, shards)

    points = points_of(with_train(settings, steps=16), shards)

    assert min(curve(points, "train/loss")) > 12


def test_a_checkpoint_of_other_settings_is_not_taken_up(settings: RunSettings, shards: Shards) -> None:
    points_of(settings, shards)

    with pytest.raises(UserError, match=r"train\.clip: began with 1\.0, now 2\.0"):
        points_of(with_train(settings, clip=2.0, steps=16), shards)


def test_an_attempt_that_another_has_overtaken_saves_nothing_more(
    settings: RunSettings, shards: Shards
) -> None:
    def another(phase: str, step: int, state: State) -> None:
        if (phase, step) == ("begin", 6):
            points_of(settings, shards)

    with pytest.raises(OvertakenError, match="Attempt 2"):
        points_of(settings, shards, another)

    assert newest(settings, shards).attempt == 2


def test_nothing_is_written_any_more_once_the_loop_has_failed(settings: RunSettings, shards: Shards) -> None:
    failed, saved = threading.Event(), list[int]()

    def watch(phase: str, step: int, state: State) -> None:
        if phase == "saved":
            failed.wait()
            time.sleep(0.2)
            saved.append(step)
        elif (phase, step) == ("begin", 4):
            failed.set()
            raise KillError

    with pytest.raises(KillError):
        points_of(settings, shards, watch)

    assert saved == [4]


def test_steps_done_again_are_counted(settings: RunSettings, shards: Shards) -> None:
    with pytest.raises(KillError):
        points_of(settings, shards, killing(9))

    points = points_of(settings, shards)

    first, second = accounts(Layout.of(settings, shards.digest).attempts)
    assert (first.step, second.first, second.steps_redone) == (9, 8, 1)
    assert second.redone > 0
    assert curve(points, "work/redone_steps") == {12: 1}
    figures = goodput([first, second])
    parts = [figures[f"work/{name}_seconds"] for name in ("useful", "redone", "waiting")]
    assert sum(parts) == pytest.approx(second.last - first.began)


@pytest.mark.parametrize(("taken", "happens"), [(4, True), (5, False), (8, True), (10, True)])
def test_what_happens_every_so_often_also_happens_at_the_end(taken: int, happens: bool) -> None:
    assert due(taken, 4, total=10) is happens


def test_what_the_settings_leave_open_happens_once_an_epoch(settings: RunSettings) -> None:
    open_settings = with_train(settings, save_every=0, evaluate_every=0)

    every = Every.of(open_settings, samples=50, total=1000)

    assert every == Every(log=5, evaluate=5, save=5)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_the_slices_of_all_ranks_cover_a_batch_once(world: int) -> None:
    cpu = torch.device("cpu")

    rows = [row for rank in range(world) for row in range(10)[Ranks(rank, world, cpu).slice(10)]]

    assert rows == list(range(10))


@pytest.mark.slow
def test_two_processes_train_like_one(settings: RunSettings, shards: Shards, tmp_path: Path) -> None:
    alone, pair = elsewhere(settings, tmp_path / "alone"), elsewhere(settings, tmp_path / "pair")

    ended = [train_group(alone, shards, 1), train_group(pair, shards, 2)]

    assert ended == [[0], [0, 0]]
    expected = learnt_curves(alone, shards)
    for name, values in learnt_curves(pair, shards).items():
        assert dict(values) == pytest.approx(dict(expected[name]), rel=1e-4), name
