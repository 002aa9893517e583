"""What the stages of a training did so far: as a table that MLflow shows with the run, and how they ended."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.tracking import journal
from pipelines.tracking.lines import Line

HEAD = """| stage | ran | finished | up to date | seconds | last |
|---|---|---|---|---|---|
"""


def table(events: Sequence[Line]) -> str:
    """One row a stage, in the order in which they first ran, from the events of a journal."""
    begun = [event for event in events if event["kind"] == "begun"]
    ends = {event["of"]: event for event in events if event["kind"] == "ended"}
    stages = dict.fromkeys(event["stage"] for event in begun)
    return HEAD + "".join(_row(stage, begun, ends) for stage in stages)


def killed(events: Sequence[Line], points: Path) -> list[tuple[str, dict[str, Any]]]:
    """An end for each stage whose process could not write one: when it was last heard of."""
    ended = {event["of"] for event in events if event["kind"] == "ended"}
    heard = max([points.stat().st_mtime if points.exists() else 0.0, *(event["time"] for event in events)])
    end = {"status": "KILLED", "seconds": None, "time": heard}
    return [
        ("ended", {"id": journal.once("ended", event["id"].encode()), "of": event["id"], **end})
        for event in events
        if event["kind"] == "begun" and event["id"] not in ended
    ]


def _row(stage: str, begun: Sequence[Line], ends: dict[str, Line]) -> str:
    runs = [event for event in begun if event["stage"] == stage]
    over = [ends[run["id"]] for run in runs if run["id"] in ends]
    finished = sum(end["status"] == "FINISHED" for end in over)
    seconds = sum(end["seconds"] or 0.0 for end in over)
    cells = [stage, f"{len(runs)}", f"{finished}", f"{_up_to_date(stage, begun)}", f"{seconds:,.0f}"]
    return f"| {' | '.join([*cells, _last(runs[-1], ends)])} |\n"


def _up_to_date(stage: str, begun: Sequence[Line]) -> int:
    """Commands that found it up to date and ran another stage."""
    tags = [event.get("tags", {}) for event in begun]
    return len({one["lease"] for one in tags if stage in one.get("up_to_date", "").split(", ")})


def _last(run: Line, ends: dict[str, Line]) -> str:
    end, tags = ends.get(run["id"]), run.get("tags", {})
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run["time"]))
    how = end["status"].lower() if end else "at work"
    why = " ".join(tags.get("reason", "").replace("|", "/").split())
    attempt = f", attempt {tags['attempt']}" if tags.get("attempt", "1") != "1" else ""
    return f"{when}, {how}{attempt}" + (f": {why}" if why else "")
