"""Points lie in a file that a kill leaves whole, and reach the screen; each value counts once."""

from pathlib import Path

import pytest

from pipelines.settings import RunSettings
from pipelines.tracking import lines, points
from pipelines.tracking.points import Forwarder, Known, Point, by_samples, forwarding, once


def point(step: int, kind: str = "train") -> Point:
    return {"step": step, "time": 1e9 + step, f"{kind}/loss": 1 / step}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "points.jsonl"


def test_what_was_appended_is_read_from_where_one_was(path: Path) -> None:
    points.append(path, point(1))
    first, place = lines.read(path)
    points.append(path, point(2))

    assert first == [point(1)]
    assert lines.read(path, place)[0] == [point(2)]


@pytest.mark.parametrize("cut", range(2, 30))
def test_half_a_line_is_neither_read_nor_left_in_the_way(path: Path, cut: int) -> None:
    points.append(path, point(1))
    points.append(path, point(2))
    path.write_bytes(path.read_bytes()[:-cut])

    torn, begin = lines.read(path)
    points.append(path, point(2))

    assert torn == [point(1)]
    assert lines.read(path)[0] == [point(1), point(2)]
    assert lines.read(path, begin)[0] == [point(2)]


def test_zeros_that_a_power_cut_left_are_passed_over(path: Path) -> None:
    points.append(path, point(1))
    path.write_bytes(path.read_bytes() + bytes(512))
    points.append(path, point(2))

    assert lines.read(path)[0] == [point(1), point(2)]


def test_a_value_counts_once_for_each_metric_and_step(path: Path) -> None:
    known: Known = {"train/loss": {1}}

    found = once([point(1), point(2), point(2), point(2, "val"), {**point(3), "attempt": "b"}], known)

    assert [(value.name, value.step) for value in found] == [
        ("train/loss", 2), ("val/loss", 2), ("train/loss", 3),
    ]  # fmt: skip


def test_the_screen_shows_how_far_the_newest_point_is(path: Path, settings: RunSettings) -> None:
    shown: list[tuple[int, int, str]] = []

    with forwarding(Forwarder(path, settings, 10, lambda *how_far: shown.append(how_far))):
        points.append(path, point(3))
        points.append(path, point(4))

    batch = settings.train.batch
    assert shown[-1] == (4 * batch, 10 * batch, "train/loss 0.250")


def test_curves_are_drawn_over_the_samples_seen_too() -> None:
    of_training = {**point(3), "train/samples_seen": 36, "train/rate": 0.1}
    of_validation = {**point(3, "val"), "train/samples_seen": 36}

    found = once([by_samples(one) for one in (of_training, of_validation, point(4))], {})

    assert [(value.name, value.step, value.value, value.time) for value in found] == [
        ("train_by_samples/loss", 36, 1 / 3, 1e9 + 3), ("val_by_samples/loss", 36, 1 / 3, 1e9 + 3),
    ]  # fmt: skip


def test_curves_hold_each_step_once(path: Path) -> None:
    for step in (1, 2, 1, 2, 3):
        points.append(path, point(step))

    assert points.curves(path) == {"train/loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)]}
