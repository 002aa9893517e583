"""What `perceiver schedule` is told: a run file and when it runs, or a verb and the name of a schedule."""

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import tyro

from cluster.mistake import UserError
from cluster.storage import local_path
from pipelines.schedule.choice import scheduled
from pipelines.schedule.records import Schedule
from pipelines.settings import RunSettings, read

VERBS = {
    "list": "Say what is scheduled, when it runs next and what came of the last run.",
    "add": "Write a schedule for the clock that is, or will be, at work: perceiver schedule add RUN.toml ...",
    "pause": "Let a schedule rest; its ticks are left out until it is resumed.",
    "resume": "Let it run again from now on.",
    "remove": "Forget a schedule; a run under way goes on, and what runs said is kept.",
    "run-now": "Have the clock run it now, also if it is paused.",
    "start": "Be the clock of a workspace as it is, until Ctrl-C or SIGTERM.",
}
PLAIN = tyro.conf.FlagCreatePairsOff
USUAL = "work"
"""The workspace where nobody names one."""
USAGE = """Run by the clock:

  perceiver schedule RUN.toml --cron "0 3 * * *" --timezone Europe/Berlin [--key value ...]
  perceiver schedule list|start [--workspace FOLDER] [--json]
  perceiver schedule pause|resume|remove|run-now [NAME] [--workspace FOLDER] [--json]

Writes the schedule into the run's workspace and is its clock until Ctrl-C or SIGTERM: whenever the
expression ticks, `perceiver run RUN.toml` brings everything up to date. Ticks that were missed, or come while
it works, are one. Further options are settings, as of `perceiver run`.

""" + "\n".join(f"  {verb:9} {about}" for verb, about in VERBS.items())


@dataclass(frozen=True, kw_only=True)
class When:
    """When, and how."""

    cron: str = ""
    """Minute, hour, day, month, weekday as in crontab; six fields begin with the second."""
    timezone: str = ""
    """Time zone of the expression, such as Europe/Berlin; empty: this machine's."""
    always: bool = False
    """Train anew though nothing is new."""
    warm_start: str = ""
    """Alias or version of the registered model that a training begins from, such as champion."""
    retry_seconds: float = 60.0
    """Seconds before a failed run is tried again; four times as long before the second and third try."""
    as_name: Annotated[str, tyro.conf.arg(name="as")] = ""
    """Name of the schedule; empty: the run's name. A workspace may have several."""


@dataclass(frozen=True, kw_only=True)
class Write:
    """Write a schedule."""

    workspace: Path
    schedule: Schedule
    start: bool
    """Whether to be the clock then."""


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Do something with what is there."""

    verb: str
    name: str
    workspaces: tuple[Path, ...]
    """The one that was named; where none was, those that may be meant."""


@dataclass(frozen=True, kw_only=True)
class _Named:
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")] = ""
    """Name of the schedule, or its run file; empty: the only one."""
    workspace: str = ""
    """Workspace of the run, or the run file that names it; empty: work, or where that has no schedules, those
    one or two levels below it that have."""


@dataclass(frozen=True, kw_only=True)
class _All:
    workspace: str = ""
    """Workspace of the run, or the run file that names it; empty: work, or where that has no schedules, those
    one or two levels below it that have."""


def parse(command: str, words: Sequence[str]) -> Write | Verb:
    """The options of `perceiver schedule`.

    Raises:
        UserError: the run file or the expression is missing, or a word is none of the verbs.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    first, rest = (words[0], list(words[1:])) if words else ("", [])
    if first in VERBS and first != "add":
        return _verb(first, rest)
    if first == "add":
        first, rest = (rest[0], rest[1:]) if rest else ("", [])
    if set(words) & {"-h", "--help"}:
        tyro.cli(
            When, args=["--help"], prog=f"perceiver {command} RUN.toml", description=USAGE, config=(PLAIN,)
        )
    if not first or first.startswith("-"):
        raise UserError(
            f'`perceiver {command}` needs a run file first: perceiver {command} RUN.toml --cron "0 3 * * *"'
        )
    near = difflib.get_close_matches(first, VERBS, n=1)
    if not first.endswith(".toml") and not Path(first).exists():
        raise UserError(
            f"{first} is no run file and none of {', '.join(VERBS)}."
            + (f" Perhaps you meant {near[0]}." if near else "")
        )
    return _write(first, rest, start=words[0] != "add")


def _verb(verb: str, words: list[str]) -> Verb:
    if verb in ("list", "start"):
        given = tyro.cli(_All, args=words, prog=f"perceiver schedule {verb}", description=VERBS[verb])
        return Verb(verb=verb, name="", workspaces=_workspaces(given.workspace))
    named = tyro.cli(_Named, args=words, prog=f"perceiver schedule {verb}", description=VERBS[verb])
    if named.name.endswith(".toml"):
        settings = read(named.name, [])
        workspaces = _workspaces(named.workspace) if named.workspace else (settings.root,)
        return Verb(verb=verb, name=settings.name, workspaces=workspaces)
    return Verb(verb=verb, name=named.name, workspaces=_workspaces(named.workspace))


def _workspaces(given: str) -> tuple[Path, ...]:
    if not given:
        return scheduled(local_path(USUAL))
    return (read(given, []).root if given.endswith(".toml") else local_path(given),)


def _write(run_file: str, words: list[str], start: bool) -> Write:
    when, options = tyro.cli(
        When, args=words, prog=f"perceiver schedule {run_file}", return_unknown_args=True,
        config=(PLAIN,),
    )  # fmt: skip
    _refuse_misspelt(options)
    settings = read(run_file, options, prog="perceiver schedule")
    if not when.cron:
        raise UserError(
            f'When is it to run? perceiver schedule {run_file} --cron "0 3 * * *" is every day at 3:00.'
        )
    sends = "://" in settings.cluster.address
    schedule = Schedule(
        name=_name(when, settings), run_file=run_file, folder=str(Path.cwd()), options=tuple(options),
        cron=when.cron, timezone=when.timezone or _local_zone(), always=when.always,
        warm_start=when.warm_start, retry_seconds=when.retry_seconds, sends=sends,
        since=datetime.now(UTC).isoformat(),
    )  # fmt: skip
    assert schedule.ticks  # a wrong expression is refused here
    return Write(workspace=settings.root, schedule=schedule, start=start)


def _refuse_misspelt(options: Sequence[str]) -> None:
    """Words for this command that were meant, but not written, which the settings' parser would not know."""
    known = ("--cron", "--timezone", "--always", "--warm-start", "--retry-seconds", "--as")
    for option in options:
        word = option.partition("=")[0]
        near = difflib.get_close_matches(word, known, n=1, cutoff=0.75)
        if word.startswith("--") and "." not in word and near:
            raise UserError(f"{word} is no option of `perceiver schedule`. Perhaps you meant {near[0]}.")


def _name(when: When, settings: RunSettings) -> str:
    if when.retry_seconds <= 0:
        raise UserError(f"--retry-seconds is {when.retry_seconds:g}: give a number of seconds above 0.")
    if when.as_name and not re.fullmatch(r"[\w -]+", when.as_name):
        raise UserError(f"--as is {when.as_name!r}: a schedule's name has letters, digits, _ and -.")
    return when.as_name or settings.name


def _local_zone() -> str:
    from tzlocal import get_localzone_name

    # TZ as in `TZ=:Europe/Berlin` or a path; tzlocal knows the other ways.
    return os.environ.get("TZ", "").strip(":") or get_localzone_name() or "UTC"
