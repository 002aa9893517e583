"""One thread that tells the tracker what the journal and the points hold: in order, each once, when it can.

A kill between telling and remembering does no harm: the store knows events by their ids, and is asked which
values of metrics it has.
"""

import fcntl
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import IO

from pipelines.layout import Layout
from pipelines.progress import say
from pipelines.tracking import journal, lines
from pipelines.tracking.journal import RunRecord, Told, Untold
from pipelines.tracking.lines import Line
from pipelines.tracking.mlflow_store import RefusedError, Store
from pipelines.tracking.points import Known, Value, by_samples, once
from pipelines.tracking.reach import away

POLL_SECONDS = 0.5
LONGEST_PAUSE = 30.0
"""Seconds between two tries, after a while."""
VALUES = 1000
"""Values of metrics in one request, the most that MLflow takes."""


class Teller:
    """Knows what was read and what was told."""

    def __init__(self, layout: Layout, connect: Callable[[], Store]) -> None:
        self.layout, self.connect = layout, connect
        self.store: Store | None = None
        self.events: list[Line] = []
        self.read = 0
        """Bytes of the journal."""
        self.run_id, self.experiment = RunRecord.read(layout.run).run_id, ""
        self.certain = False
        """Whether the store has just said that it has the run."""
        self.known: Known = {}
        self._recall()

    def tell(self) -> None:
        """Tell what is not told yet. What the store raises is raised; the next call begins with the run."""
        new, self.read = lines.read(self.layout.journal, self.read)
        self.events += new
        # The points are read behind the events: when the end of a stage is told, its points were.
        if not self._waiting() and not lines.read(self.layout.points, self.points)[0]:
            return
        try:
            store = self.store = self.store or self.connect()
            if not self.certain:
                self._find_run(store)
            self._tell_points(store)
            for event in self._waiting():
                self._tell_event(store, event)
        except BaseException:
            self.certain = False
            raise

    def _waiting(self) -> list[Line]:
        return [event for event in self.events if event["id"] not in self.told]

    def _recall(self) -> None:
        told = Told.read(self.layout, self.run_id)
        self.told, self.points = set(told.events), told.points

    def _find_run(self, store: Store) -> None:
        first = next(event for event in self.events if event["kind"] == "run")
        self.experiment, self.run_id = store.run(first, self.run_id)
        record = RunRecord.read(self.layout.run)
        found = replace(record, run_id=self.run_id, experiment_id=self.experiment, uri=store.uri)
        if found != record:
            found.write(self.layout.run)
        self._recall()
        self.known = store.steps(self.run_id)
        self.certain = True

    def _tell_points(self, store: Store) -> None:
        points, end = lines.read(self.layout.points, self.points)
        if points:
            self._tell_values(store, once([*points, *map(by_samples, points)], self.known))
            journal.remember(self.layout, self.run_id, points=end)
            self.points = end

    def _tell_event(self, store: Store, event: Line) -> None:
        try:
            if event["kind"] == "figures":
                figures = {"step": event["step"], "time": event["time"], **event["metrics"]}
                self._tell_values(store, once([figures], self.known))
            else:
                store.tell(self.experiment, self.run_id, event)
        except RefusedError as refusal:
            say(f"tracking: passed over {event['kind']}: {refusal}")
        journal.remember(self.layout, self.run_id, event=event["id"])
        self.told.add(event["id"])

    def _tell_values(self, store: Store, values: Sequence[Value]) -> None:
        for begin in range(0, len(values), VALUES):
            some = values[begin : begin + VALUES]
            try:
                store.values(self.run_id, some)
            except RefusedError as refusal:
                self._tell_one_by_one(store, some, refusal)

    def _tell_one_by_one(self, store: Store, values: Sequence[Value], refusal: RefusedError) -> None:
        """A metric that the store does not take costs itself alone."""
        if len(values) == 1:
            say(f"tracking: passed over {values[0].name} at step {values[0].step:,}: {refusal}")
            return
        for value in values:
            self._tell_values(store, [value])


class Errand:
    """A teller on its thread, and what the person hears of it."""

    def __init__(self, teller: Teller, uri: str) -> None:
        self.teller, self.uri = teller, uri
        self.over, self.given_up = threading.Event(), threading.Event()
        self.complaint = ""
        self.other = ""
        """The process that tells, where it is another one."""
        self.before = False
        """Whether the stage before still waits for an answer."""
        self.lock: IO[str] | None = None
        self.thread = threading.Thread(target=self._work, name="tell", daemon=True)

    def tell(self) -> str:
        """Tell in this thread, once; why it did not work out, or nothing."""
        try:
            return self._try() if self._alone() else ""
        finally:
            self._let_go()

    def finish(self, seconds: float) -> Untold:
        """Wait until all is told, but no longer than this; what is left."""
        self.over.set()
        self.thread.join(seconds)
        self.given_up.set()
        return Untold.of(self.teller.layout)

    def _work(self) -> None:
        pause = POLL_SECONDS
        try:
            while not self.given_up.is_set():
                last = self.over.is_set()
                if self._alone():
                    self._say(self._try())
                if last and not self.complaint and not self.before:
                    break
                pause = min(2 * pause, LONGEST_PAUSE) if self.complaint else POLL_SECONDS
                if self.over.is_set():
                    self.given_up.wait(min(pause, 1.0))
                else:
                    self.over.wait(pause)
        finally:
            self._let_go()

    def _try(self) -> str:
        """Tell; why it did not work out, or nothing."""
        try:
            self.teller.tell()
        except Exception as error:  # whatever a tracker raises, the training is not its victim
            words = " ".join(str(error).split())
            return away(self.uri) or f"{self.uri} answers: {type(error).__name__}: {words[:300]}."
        return ""

    def _alone(self) -> bool:
        """Whether no other process tells about this training; the kernel lets go when one dies."""
        if self.lock:
            return True
        file = self.teller.layout.teller.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            self._leave_to(file.read())
            file.close()
            return False
        except OSError:
            pass  # Some network file systems have no such lock.
        file.truncate(0)
        file.write(journal.author())
        file.flush()
        self.lock, self.other, self.before = file, "", False
        return True

    def _let_go(self) -> None:
        if self.lock:
            self.lock.close()

    def _leave_to(self, other: str) -> None:
        self.before = other == journal.author()
        if not self.before and other != self.other:
            say(f"tracking: {other} tells {self.uri} about this training; it is left to it")
            self.other = other

    def _say(self, complaint: str) -> None:
        """Once when the tracker goes away, and once when it is back."""
        if complaint and not self.complaint:
            say(f"tracking: {complaint} The run goes on, and what is to be told waits on the disk.")
        if self.complaint and not complaint:
            say(f"tracking: {self.uri} is back and was told what had waited")
        self.complaint = complaint


@contextmanager
def telling(teller: Teller, uri: str, seconds: float, command: str) -> Generator[Errand]:
    """Tell while something goes on; at its end wait `seconds` at most, and say what is left.

    `command` is what the person can do about it.
    """
    errand = Errand(teller, uri)
    errand.thread.start()
    try:
        yield errand
    finally:
        if (left := errand.finish(seconds)) and not errand.other:
            say(
                f"tracking: {left} did not reach {uri}; they are kept in {teller.layout.folder}, "
                f"and `{command}` tells them"
            )
