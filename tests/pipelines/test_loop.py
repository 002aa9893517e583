"""The loop of one rank: it learns, it goes on as if it had never stopped, and ranks add up to one process."""

import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as processes

from cluster.mistake import UserError
from pipelines import checkpoints
from pipelines.layout import Layout
from pipelines.loop import Every, due, loop
from pipelines.points import Point
from pipelines.ranks import Ranks
from pipelines.settings import RunSettings
from preprocessing.shards import Shards


class KillError(Exception):
    """Stands for a kill between two steps."""


def points_of(settings: RunSettings) -> list[Point]:
    points: list[Point] = []
    loop(settings, points.append)
    return points


def weights_of(settings: RunSettings, shards: Shards) -> str:
    found, _ = checkpoints.newest(Layout.of(settings, shards.digest).checkpoints)
    assert found is not None
    return found.weights


def curve(points: list[Point], name: str) -> dict[float, float]:
    return {point["step"]: point[name] for point in points if name in point}


def elsewhere(settings: RunSettings, folder: Path) -> RunSettings:
    """The same run in another workspace, on the same shards."""
    return replace(settings, workspace=str(folder), data=replace(settings.data, shards=settings.shards))


def killed_at(step: int) -> Callable[[Point], None]:
    def publish(point: Point) -> None:
        if point["step"] == step:
            raise KillError

    return publish


def test_a_small_run_learns_and_ends_with_a_checkpoint(settings: RunSettings, shards: Shards) -> None:
    settings = replace(settings, train=replace(settings.train, steps=60))

    points = points_of(settings)

    losses, accuracy = curve(points, "train/loss"), curve(points, "val/accuracy")
    assert losses[60] < 0.5 * losses[1]
    assert accuracy[60] > 0.9
    found, _ = checkpoints.newest(Layout.of(settings, shards.digest).checkpoints)
    assert found is not None
    assert (found.step, found.samples_seen) == (60, 60 * 12)


@pytest.mark.parametrize("step", [1, 4, 5, 11])
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_interrupted_run_ends_bit_for_bit_like_an_uninterrupted_one(
    settings: RunSettings, shards: Shards, tmp_path: Path, step: int, optimizer: str
) -> None:
    settings = replace(settings, train=replace(settings.train, optimizer=optimizer))
    whole = elsewhere(settings, tmp_path / "whole")
    whole_points = points_of(whole)

    with pytest.raises(KillError):
        loop(settings, killed_at(step))
    rest = points_of(settings)

    assert weights_of(settings, shards) == weights_of(whole, shards)
    for name in ("train/loss", "val/loss"):
        again = curve(rest, name)
        assert again
        assert again.items() <= curve(whole_points, name).items()


def test_a_finished_run_takes_no_further_step(settings: RunSettings, shards: Shards) -> None:
    loop(settings, lambda point: None)

    assert points_of(settings) == []


def test_a_run_with_more_steps_goes_on_from_its_last(settings: RunSettings, shards: Shards) -> None:
    loop(settings, lambda point: None)

    points = points_of(replace(settings, train=replace(settings.train, steps=16)))

    assert min(point["step"] for point in points) > 12


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint_before_it(
    settings: RunSettings, shards: Shards
) -> None:
    exploding = replace(settings, train=replace(settings.train, rate=1e20, warmup=0.0, save_every=1))

    with pytest.raises(UserError, match=r"The (loss|gradient) is (nan|inf) at step \d+. Lower train.rate"):
        loop(exploding, lambda point: None)

    found, torn = checkpoints.newest(Layout.of(settings, shards.digest).checkpoints)
    assert found is not None
    assert torn == []
    assert all(torch.isfinite(value).all() for value in found.tensors("model").values())


def test_a_checkpoint_of_other_settings_is_not_taken_up(settings: RunSettings, shards: Shards) -> None:
    loop(settings, lambda point: None)

    with pytest.raises(UserError, match=r"train\.clip: began with 1\.0, now 2\.0"):
        loop(replace(settings, train=replace(settings.train, clip=2.0, steps=16)), lambda point: None)


@pytest.mark.parametrize(("taken", "happens"), [(4, True), (5, False), (8, True), (10, True)])
def test_what_happens_every_so_often_also_happens_at_the_end(taken: int, happens: bool) -> None:
    assert due(taken, 4, total=10) is happens


def test_what_the_settings_leave_open_happens_once_an_epoch(settings: RunSettings) -> None:
    open_settings = replace(settings, train=replace(settings.train, save_every=0, evaluate_every=0))

    every = Every.of(open_settings, samples=50, total=1000)

    assert every == Every(log=5, evaluate=5, save=5)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_the_slices_of_all_ranks_cover_a_batch_once(world: int) -> None:
    cpu = torch.device("cpu")

    rows = [row for rank in range(world) for row in range(10)[Ranks(rank, world, cpu).slice(10)]]

    assert rows == list(range(10))


def test_two_processes_train_like_one(settings: RunSettings, shards: Shards, tmp_path: Path) -> None:
    alone, pair = elsewhere(settings, tmp_path / "alone"), elsewhere(settings, tmp_path / "pair")
    expected = points_of(alone)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    processes.spawn(_rank, (2, port, pair, str(tmp_path / "points.pt")), nprocs=2)

    points: list[Point] = torch.load(tmp_path / "points.pt", weights_only=True)
    for name in ("train/loss", "val/loss", "train/gradient_norm"):
        assert curve(points, name) == pytest.approx(curve(expected, name), rel=1e-4)


def _rank(rank: int, world: int, port: int, settings: RunSettings, out: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world
    )
    points: list[Point] = []
    loop(settings, points.append)
    if rank == 0:
        torch.save(points, out)
    assert rank == 0 or not points, "only rank 0 publishes"
    torch.distributed.destroy_process_group()
