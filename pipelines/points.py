"""The points of a training's curves, in a file beside its checkpoints: the record that no tracker can lose.

The first rank appends to it; the process that started the training reads it, shows how far the training is,
and tells the tracker what the tracker does not have yet. So a training never waits for the tracker, and a
tracker that was away gets every point afterwards.
"""

import json
import os
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from pipelines.progress import Advance, say
from pipelines.settings import RunSettings
from pipelines.tracking import Tracker

POLL_SECONDS = 0.5

Point = dict[str, float]
"""`step`, `time` (s since 1970) and metrics."""

Curve = list[tuple[int, float]]
"""(step, value) pairs in the order of steps."""


def append(path: Path, point: Point) -> None:
    """Add a point; it is on the disk before a checkpoint of its step is."""
    with path.open("ab+") as file:
        _drop_torn_end(path, file.tell())
        file.write(json.dumps(point).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _drop_torn_end(path: Path, size: int) -> None:
    """A process that was killed while it wrote leaves half a line."""
    data = path.read_bytes()[-4096:] if size else b"\n"
    if not data.endswith(b"\n"):
        os.truncate(path, size - len(data) + data.rfind(b"\n") + 1)


def read(path: Path, begin: int = 0) -> tuple[list[Point], int]:
    """The whole points from byte `begin` on, and where the next will begin."""
    if not path.exists():
        return [], begin
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    return [json.loads(line) for line in whole.splitlines()], begin + len(whole)


def kind(point: Point) -> str:
    """`train` or `val`: each has one point a step at most."""
    return "val" if "val/loss" in point else "train"


def once(points: Iterable[Point], told: dict[str, int]) -> list[Point]:
    """Those whose step was not `told` yet: what a restart repeats is the same again."""
    fresh: list[Point] = []
    for point in points:
        if point["step"] > told.get(kind(point), 0):
            told[kind(point)] = int(point["step"])
            fresh.append(point)
    return fresh


def curves(path: Path) -> dict[str, Curve]:
    """All metrics of the training by name."""
    found: dict[str, Curve] = {}
    for point in once(read(path)[0], {}):
        for name, value in point.items():
            if name not in ("step", "time"):
                found.setdefault(name, []).append((int(point["step"]), value))
    return found


class Forwarder:
    """Brings points from the file to the screen and the tracker, each once."""

    def __init__(
        self, path: Path, tracker: Tracker, settings: RunSettings, steps: int, advance: Advance
    ) -> None:
        self.path, self.tracker, self.advance = path, tracker, advance
        self.batch, self.samples = settings.train.batch, steps * settings.train.batch
        self.told = tracker.told()
        self.begin = 0
        self.unsent: list[Point] = []

    def forward(self) -> None:
        """Show and tell what is new. What the tracker does not take stays for the next time."""
        points, self.begin = read(self.path, self.begin)
        if points:
            self._show(points)
        self.unsent += once(points, self.told)
        if self.unsent:
            self.tracker.points(self.unsent)
            self.unsent = []

    def _show(self, points: list[Point]) -> None:
        latest: Point = {}
        for point in points:
            latest |= point
        notes = [f"{name} {latest[name]:.3f}" for name in ("train/loss", "val/accuracy") if name in latest]
        self.advance(int(latest["step"]) * self.batch, self.samples, ", ".join(notes))


@contextmanager
def forwarding(forwarder: Forwarder) -> Generator[None]:
    """Forward on a thread while the training runs, and what is left at its end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(POLL_SECONDS):
            _try(forwarder)

    thread = threading.Thread(target=work, name="forward", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        if complaint := _try(forwarder):
            say(
                f"train: {len(forwarder.unsent):,} points did not reach the tracker ({complaint}); "
                f"they are in {forwarder.path} and follow when the run goes on"
            )


def _try(forwarder: Forwarder) -> str:
    """Forward; why it did not work out, or nothing."""
    try:
        forwarder.forward()
    except Exception as error:  # whatever a tracker raises, the training is not its victim
        return f"{type(error).__name__}: {error}"
    return ""
