"""Points reach the screen and the tracker once each, whatever is killed or away in between."""

from pathlib import Path
from typing import Any

import pytest

from pipelines import points
from pipelines.points import Forwarder, Point, forwarding
from pipelines.settings import RunSettings


def point(step: int, kind: str = "train") -> Point:
    return {"step": step, "time": 1e9 + step, f"{kind}/loss": 1 / step}


class Store:
    """Has the face of a tracker; refuses while it is away."""

    def __init__(self, told: dict[str, int] | None = None) -> None:
        self.taken: list[Point] = []
        self.away = False
        self.known = told or {}

    def told(self) -> dict[str, int]:
        return dict(self.known)

    def points(self, points: list[Point]) -> None:
        if self.away:
            raise ConnectionError("nobody there")
        self.taken += points


def forwarder(path: Path, store: Any, settings: RunSettings, shown: list[int] | None = None) -> Forwarder:
    seen = [] if shown is None else shown
    return Forwarder(path, store, settings, 10, lambda done, total, note: seen.append(done))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "points.jsonl"


def test_what_was_appended_is_read_from_where_one_was(path: Path) -> None:
    points.append(path, point(1))
    first, place = points.read(path)
    points.append(path, point(2))

    assert first == [point(1)]
    assert points.read(path, place)[0] == [point(2)]


@pytest.mark.parametrize("cut", range(1, 8))
def test_half_a_line_is_neither_read_nor_left_in_the_way(path: Path, cut: int) -> None:
    points.append(path, point(1))
    points.append(path, point(2))
    path.write_bytes(path.read_bytes()[:-cut])

    torn, _ = points.read(path)
    points.append(path, point(2))

    assert torn == [point(1)]
    assert points.read(path)[0] == [point(1), point(2)]


def test_steps_that_a_restart_repeats_are_told_once(path: Path, settings: RunSettings) -> None:
    store, shown = Store(), []
    for step in (1, 2, 3, 2, 3, 4):
        points.append(path, point(step))
    points.append(path, point(4, "val"))

    forwarder(path, store, settings, shown).forward()

    assert store.taken == [point(1), point(2), point(3), point(4), point(4, "val")]
    assert shown == [4 * settings.train.batch]


def test_a_later_process_tells_only_what_the_store_lacks(path: Path, settings: RunSettings) -> None:
    store = Store(told={"train": 2})
    for step in (1, 2, 3):
        points.append(path, point(step))

    forwarder(path, store, settings).forward()

    assert store.taken == [point(3)]


def test_a_store_that_was_away_gets_everything_afterwards(path: Path, settings: RunSettings) -> None:
    store = Store()
    forward = forwarder(path, store, settings)
    store.away = True
    points.append(path, point(1))
    with pytest.raises(ConnectionError):
        forward.forward()
    store.away = False
    points.append(path, point(2))

    forward.forward()

    assert store.taken == [point(1), point(2)]


def test_a_store_that_stays_away_costs_a_word_and_not_the_training(
    path: Path, settings: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()
    store.away = True

    with forwarding(forwarder(path, store, settings)):
        points.append(path, point(1))

    assert "1 points did not reach the tracker (ConnectionError: nobody there)" in capsys.readouterr().err


def test_curves_hold_each_step_once(path: Path) -> None:
    for step in (1, 2, 1, 2, 3):
        points.append(path, point(step))

    assert points.curves(path) == {"train/loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)]}
