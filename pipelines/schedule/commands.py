"""What `perceiver schedule` does, tells and answers."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.storage import folder
from pipelines.attempts import OvertakenError
from pipelines.lease import HeldError, holder
from pipelines.progress import say
from pipelines.schedule import clock
from pipelines.schedule import words as schedule_words
from pipelines.schedule.choice import meant, only
from pipelines.schedule.options import Verb, Write
from pipelines.schedule.records import Schedule, Schedules

Answer = tuple[int, dict[str, Any]]
"""The exit status, and the object that --json prints."""


def schedule(options: Write | Verb) -> Answer:
    """Write a schedule and be its clock, or do something with those that are there."""
    if isinstance(options, Write):
        return _write(options)
    return VERBS[options.verb](options)


def _write(options: Write) -> Answer:
    folder(str(options.workspace))
    if not options.start:
        _put(options)
        return _seen(options.workspace)
    try:
        return _work(options.workspace, options)
    except HeldError as held:
        raise UserError(
            f"{held} To hand it this schedule: perceiver schedule add {options.schedule.run_file} ..."
        ) from held


def _put(options: Write) -> None:
    """Write it; the same as before goes on where it stood."""
    schedules, new = Schedules.of(options.workspace), options.schedule
    old = schedules.find(new.name)
    changed = _changes(old, new) if old else []
    if old and not changed:
        say(f"schedule: {new.name} goes on as it is")
    else:
        schedules.put(new)
        say(f"schedule: {new.name} is {'changed' if old else 'written'}: {schedules.folder / new.name}.json")
    for line in changed:
        say(f"  {line}")
    if schedules.paused(new.name):
        say(f"schedule: {new.name} is paused; perceiver schedule resume {new.name} lets it run")


def _changes(old: Schedule, new: Schedule) -> list[str]:
    before, after = asdict(old), asdict(new)
    return [
        f"{name}: was {_word(before[name])}, is {_word(value)}"
        for name, value in after.items()
        if name != "since" and before[name] != value
    ]


def _word(value: object) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value) or "none"


def _start(options: Verb) -> Answer:
    workspace = only(options.workspaces)
    if not Schedules.of(workspace).all():
        Schedules.of(workspace).get("")  # says what there is to do
    return _work(workspace, None)


def _work(workspace: Path, options: Write | None) -> Answer:
    def begin() -> None:
        if options:
            _put(options)
        say(f"clock: at work on {workspace}; Ctrl-C ends it, and the same command goes on")

    try:
        ended_by = clock.run(workspace, begin)
    except OvertakenError as overtaken:
        say(f"error: {overtaken}")
        return 1, {"ended_by": "another clock", **_seen_quietly(workspace)}
    say(f"clock: ended by {ended_by}; the same command goes on from here")
    return 0, {"ended_by": ended_by, **_seen_quietly(workspace)}


def _list(options: Verb) -> Answer:
    if len(options.workspaces) == 1:
        return _seen(options.workspaces[0])
    return 0, {"workspaces": [_seen_in(workspace) for workspace in options.workspaces]}


def _seen_in(workspace: Path) -> dict[str, Any]:
    say(f"in {workspace}")
    return _seen(workspace)[1]


def _pause(options: Verb) -> Answer:
    schedules, found = meant(options.workspaces, options.name)
    schedules.pause(found.name, True)
    say(f"schedule: {found.name} is paused, a run under way goes on; perceiver schedule resume {found.name}")
    return 0, _fact(schedules, found)


def _resume(options: Verb) -> Answer:
    schedules, found = meant(options.workspaces, options.name)
    if schedules.paused(found.name):
        # Before it is no longer paused: what was left out meanwhile is not made up for.
        found = replace(found, since=datetime.now(UTC).isoformat())
        schedules.put(found)
        schedules.pause(found.name, False)
    fact = _fact(schedules, found)
    say(f"schedule: {found.name} runs next at {schedule_words.next_words(found, fact)}")
    _tell_clock(schedules.folder.parent)
    return 0, fact


def _remove(options: Verb) -> Answer:
    schedules, found = meant(options.workspaces, options.name)
    running = schedules.account(found.name).result == "running"
    schedules.remove(found.name)
    say(f"schedule: {found.name} is removed{'; its run under way goes on' if running else ''}. "
        f"What its runs said is in {schedules.folder / found.name}")  # fmt: skip
    return 0, {"removed": found.name}


def _run_now(options: Verb) -> Answer:
    schedules, found = meant(options.workspaces, options.name)
    schedules.ask(found.name)
    say(f"schedule: {found.name} runs as soon as the clock sees it and nothing else is at work")
    _tell_clock(schedules.folder.parent)
    return 0, _fact(schedules, found)


def _seen(workspace: Path) -> Answer:
    """Tell of all schedules of the workspace and of its clock."""
    schedules = Schedules.of(workspace)
    found = _seen_quietly(workspace)
    for one, fact in zip(schedules.all(), found["schedules"], strict=False):
        for line in schedule_words.lines(one, fact):
            say(line)
    if not found["schedules"]:
        say(
            f'nothing is scheduled in {workspace}; perceiver schedule RUN.toml --cron "0 3 * * *" does it, '
            f"--workspace names another"
        )
    _tell_clock(workspace)
    return 0, found


def _seen_quietly(workspace: Path) -> dict[str, Any]:
    schedules, at_work = Schedules.of(workspace), holder(clock.place(workspace))
    facts = [_fact(schedules, one) for one in schedules.all()]
    return {"workspace": str(workspace), "clock": asdict(at_work) if at_work else None, "schedules": facts}


def _tell_clock(workspace: Path) -> None:
    at_work = holder(clock.place(workspace))
    none = f"none is at work; perceiver schedule start --workspace {workspace} is one"
    say(f"clock  {at_work or none}")


def _fact(schedules: Schedules, found: Schedule) -> dict[str, Any]:
    return schedule_words.fact(schedules, found, datetime.now(UTC))


VERBS: Mapping[str, Any] = {
    "list": _list, "start": _start, "pause": _pause, "resume": _resume, "remove": _remove,
    "run-now": _run_now,
}  # fmt: skip
