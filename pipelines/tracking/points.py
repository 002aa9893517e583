"""The points of a training's curves, in a file beside its checkpoints: the record that no tracker can lose.

The first rank appends to it, on whichever node it is; the process that started the training reads it, shows
how far the training is, and tells the tracker (`telling.py`).
"""

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.progress import Advance
from pipelines.settings import RunSettings
from pipelines.tracking import lines

POLL_SECONDS = 0.5

Point = dict[str, float]
"""`step`, `time` (s since 1970) and metrics."""

Curve = list[tuple[int, float]]
"""(step, value) pairs in the order of steps."""

Known = dict[str, set[int]]
"""The steps at which each metric has a value."""


DRAWN = (("train", "loss"), ("train", "accuracy"), ("val", "loss"), ("val", "accuracy"), ("val", "mAP"))
"""Curves that are drawn over the samples seen too."""


class Value(NamedTuple):
    """One metric at one step."""

    name: str
    value: float
    step: int
    time: float
    """s since 1970"""


def append(path: Path, point: Point) -> None:
    """Add a point; it is on the disk before a checkpoint of its step is."""
    lines.append(path, point)


class Record:
    """Adds points to a file; those for which a disk has no room wait until it has some."""

    def __init__(self, path: Path) -> None:
        self.path, self.waiting = path, list[Point]()

    def add(self, point: Point) -> None:
        """Add a point behind those that wait: no curve is worth the training."""
        self.waiting.append(point)
        with suppress(OSError):
            while self.waiting:
                append(self.path, self.waiting[0])
                del self.waiting[0]


def once(points: Iterable[Mapping[str, Any]], known: Known) -> list[Value]:
    """The values that are not `known` yet, which they are from now on.

    What a restart repeats is the same again: the first value of a metric at a step is the one that counts.
    """
    fresh: list[Value] = []
    for point in points:
        step = int(point["step"])
        for name, value in point.items():
            steps = known.setdefault(name, set())
            if name not in ("step", "time") and isinstance(value, int | float) and step not in steps:
                steps.add(step)
                fresh.append(Value(name, value, step, point["time"]))
    return fresh


def by_samples(point: Mapping[str, Any]) -> Point:
    """The curves of a point, drawn over the samples seen in place of the steps: `train_by_samples/loss`.

    MLflow's line charts offer no metric as x axis, and runs of different batches have no step in common.
    """
    seen = point.get("train/samples_seen", 0)
    drawn = {f"{split}_by_samples/{name}": point.get(f"{split}/{name}") for split, name in DRAWN}
    known = {name: value for name, value in drawn.items() if seen and value is not None}
    return {"step": seen, "time": point["time"], **known}


def curves(path: Path) -> dict[str, Curve]:
    """All metrics of the training by name."""
    found: dict[str, Curve] = {}
    for value in once(lines.read(path)[0], {}):
        found.setdefault(value.name, []).append((value.step, value.value))
    return {name: sorted(curve) for name, curve in found.items()}


class Forwarder:
    """Brings points from the file to the screen."""

    def __init__(self, path: Path, settings: RunSettings, steps: int, advance: Advance) -> None:
        self.path, self.advance = path, advance
        self.batch, self.samples = settings.train.batch, steps * settings.train.batch
        self.begin = 0

    def forward(self) -> None:
        """Show what is new."""
        points, self.begin = lines.read(self.path, self.begin)
        if points:
            self._show(points)

    def _show(self, points: list[Point]) -> None:
        latest: Point = {}
        for point in points:
            latest |= point
        notes = [
            f"{name} {latest[name]:.3f}"
            for name in ("train/loss", "val/accuracy", "val/mAP")
            if name in latest
        ]
        self.advance(int(latest["step"]) * self.batch, self.samples, ", ".join(notes))


@contextmanager
def forwarding(forwarder: Forwarder) -> Generator[None]:
    """Forward on a thread while the training runs, and what is left at its end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(POLL_SECONDS):
            with suppress(Exception):  # a screen that fails is not the training's end
                forwarder.forward()

    thread = threading.Thread(target=work, name="forward", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with suppress(Exception):
            forwarder.forward()
