"""Which workspaces, and which schedule of them, a person means who names none."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from cluster.mistake import UserError
from pipelines.schedule.records import Schedule, Schedules

BELOW = ("*/schedules/*.json", "*/*/schedules/*.json")
"""Where the schedules of the workspaces lie that are one or two levels below a folder."""


def scheduled(workspace: Path) -> tuple[Path, ...]:
    """This workspace if it has schedules; else those one or two levels below it that have; else itself."""
    if any(workspace.glob("schedules/*.json")):
        return (workspace,)
    below = {path.parent.parent for pattern in BELOW for path in workspace.glob(pattern)}
    return tuple(sorted(below)) or (workspace,)


def meant(workspaces: Sequence[Path], name: str) -> tuple[Schedules, Schedule]:
    """The schedule of this name, and those of its workspace; an empty name means the only one.

    Raises:
        UserError: there is none, or there are several.
    """
    if len(workspaces) == 1:
        schedules = Schedules.of(workspaces[0])
        return schedules, schedules.get(name)
    there = [(schedules, one) for schedules in map(Schedules.of, workspaces) for one in schedules.all()]
    fitting = [pair for pair in there if name in ("", pair[1].name)]
    if len(fitting) == 1:
        return fitting[0]
    several = ", ".join(f"{one.name} in {schedules.folder.parent}" for schedules, one in fitting or there)
    way = "Name the workspace with --workspace."
    if not name:
        raise UserError(f"Which schedule is meant? There are {several}. {way}")
    if fitting:
        raise UserError(f"Which {name} is meant? There are {several}. {way}")
    near = difflib.get_close_matches(name, [one.name for _, one in there], n=1)
    raise UserError(
        f"There is no schedule {name} in {_names(workspaces)}."
        f"{f' Perhaps you meant {near[0]}.' if near else ''} There are {several}. Name another workspace "
        f"with --workspace."
    )


def only(workspaces: Sequence[Path]) -> Path:
    """The one workspace.

    Raises:
        UserError: there are several.
    """
    if len(workspaces) == 1:
        return workspaces[0]
    raise UserError(
        f"Which workspace is meant? {_names(workspaces)} have schedules, and each needs a clock of its own. "
        f"Name one with --workspace."
    )


def _names(workspaces: Sequence[Path]) -> str:
    return ", ".join(map(str, workspaces))
