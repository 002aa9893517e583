"""What the tracker is to be told of a training, on the local disk first, and how much of it was told.

An event is a line of the journal with `id`, `kind` and `time`; what the tracker was told is remembered in a
second file, for one run: where that is deleted, a new one is told everything.
"""

import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from cluster.storage import write_whole
from pipelines.layout import Layout
from pipelines.tracking import lines
from pipelines.tracking.lines import Line


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Which run of which store a training is."""

    run_id: str = ""
    """Empty until the store has answered once."""
    experiment_id: str = ""
    uri: str = ""
    """The store that has the run."""
    settings: dict[str, str] = field(default_factory=dict[str, str])
    """The settings that the training cannot change any more."""

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """The record at `path`, or an empty one."""
        return cls(**json.loads(path.read_bytes())) if path.exists() else cls()

    def write(self, path: Path) -> None:
        """Keep the record at `path`, whole or not at all."""
        write_whole(path, json.dumps(asdict(self), indent=1).encode())


@dataclass(frozen=True)
class Told:
    """What one run was told."""

    events: frozenset[str] = frozenset()
    """Ids."""
    points: int = 0
    """Bytes of the points' file."""

    @classmethod
    def read(cls, layout: Layout, run_id: str) -> "Told":
        """What is remembered of the run with this id."""
        known = [line for line in lines.read(layout.told)[0] if run_id and line["run"] == run_id]
        return cls(
            frozenset(line["event"] for line in known if "event" in line),
            max((line["points"] for line in known if "points" in line), default=0),
        )


@dataclass(frozen=True)
class Untold:
    """How much is left to tell."""

    events: int
    points: int

    @classmethod
    def of(cls, layout: Layout) -> "Untold":
        """Counted from the files alone."""
        if not layout.journal.exists():
            return cls(0, 0)
        told = Told.read(layout, RunRecord.read(layout.run).run_id)
        events = [event for event in lines.read(layout.journal)[0] if event["id"] not in told.events]
        return cls(len(events), len(lines.read(layout.points, told.points)[0]))

    def __add__(self, other: "Untold") -> "Untold":
        return Untold(self.events + other.events, self.points + other.points)

    def __bool__(self) -> bool:
        return bool(self.events or self.points)

    def __str__(self) -> str:
        return f"{self.points:,} points and {self.events:,} events"


def write(layout: Layout, kind: str, **facts: Any) -> str:
    """Add an event, which happened now unless it says when; its id."""
    event: Line = {"id": uuid4().hex, "kind": kind, "time": time.time(), **facts}
    lines.append(layout.journal, event)
    return event["id"]


def once(kind: str, *content: bytes) -> str:
    """The id of an event that is the same whenever its content is: told once, however often it is written."""
    return hashlib.sha256(b"\0".join([kind.encode(), *content])).hexdigest()[:32]


def remember(layout: Layout, run_id: str, **what: str | int) -> None:
    """Keep that the run was told this `event`, or the `points` up to this byte."""
    lines.append(layout.told, {"run": run_id, **what})


def author() -> str:
    """This process, for a person who looks for it."""
    return f"process {os.getpid()} on {os.uname().nodename}"
