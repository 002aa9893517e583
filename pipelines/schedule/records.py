"""The schedules of a workspace, as files that the commands and the clock share without a lock.

    <workspace>/schedules/<name>.json          what runs when; written by commands alone
    <workspace>/schedules/<name>/account.json  what came of it; written by the clock alone
    <workspace>/schedules/<name>/paused        there while it is paused
    <workspace>/schedules/<name>/asked         which `run-now` is to be obeyed
    <workspace>/schedules/<name>/<tick>-<attempt>.log, .json   what a run said, and its answer

No file has two writers, so none can take back what another wrote. Each is written whole.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from cluster.mistake import UserError
from cluster.storage import make_folder, write_whole
from pipelines.schedule.cron import Cron, cron

KEPT = 20
"""Runs whose words are kept."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """What runs, and when."""

    name: str
    run_file: str
    folder: str
    """Where the command was given: places in the run file and the options are relative to it."""
    options: tuple[str, ...]
    """Settings behind the run file, as given."""
    cron: str
    timezone: str
    always: bool = False
    """Train though nothing is new."""
    warm_start: str = ""
    """Alias or version of the model that a training begins from; empty: as the settings say."""
    retry_seconds: float = 60.0
    """Seconds before a failed run is tried again; four times as long before each further try."""
    sends: bool = False
    """Whether the run is sent to a cluster as a job."""
    since: str
    """Ticks before this moment are none of it: when it was written or resumed."""

    @property
    def ticks(self) -> Cron:
        """When it runs."""
        return cron(self.cron, self.timezone)


@dataclass(frozen=True, kw_only=True)
class Account:
    """What the clock did for a schedule; moments are in UTC."""

    covered: str = ""
    """All ticks until then have been run or collapsed."""
    tick: str = ""
    """The tick of the newest run."""
    why: str = ""
    asked: str = ""
    """The newest `run-now` obeyed."""
    result: str = ""
    """running, done, failed, refused or interrupted."""
    what: str = ""
    """The result in words."""
    status: int | None = None
    began: str = ""
    ended: str = ""
    attempt: int = 0
    """Runs for this tick."""
    failures: int = 0
    """Those of them that failed, as far as the tick is still tried."""
    retry_at: str = ""
    half_trained: bool = False
    """Whether a training was begun and not ended: to force another would throw it away."""
    host: str = ""
    pid: int = 0
    born: int = 0
    """When the process started, in the kernel's ticks."""
    log: str = ""
    """File name of what the newest run said."""


Record = TypeVar("Record", Schedule, Account)


@dataclass(frozen=True)
class Schedules:
    """The schedules of one workspace."""

    folder: Path

    @classmethod
    def of(cls, workspace: Path) -> "Schedules":
        """Those of this workspace."""
        return cls(workspace / "schedules")

    def all(self) -> list[Schedule]:
        """All of them, by name."""
        found = (_read(Schedule, path) for path in sorted(self.folder.glob("*.json")))
        return [schedule for schedule in found if schedule]

    def get(self, name: str) -> Schedule:
        """The one of this name; an empty name means the only one.

        Raises:
            UserError: there is none.
        """
        known = [schedule.name for schedule in self.all()]
        if not name and len(known) == 1:
            name = known[0]
        found = _read(Schedule, self.folder / f"{name}.json") if name else None
        if found:
            return found
        if not known:
            raise UserError(
                f"{self.folder.parent} has no schedules. Write one with `perceiver schedule RUN.toml --cron "
                f'"0 3 * * *"`, or name another --workspace.'
            )
        near = difflib.get_close_matches(name, known, n=1)
        raise UserError(
            (f"There is no schedule {name} in {self.folder.parent}." if name else "Which schedule is meant?")
            + (f" Perhaps you meant {near[0]}." if near else "")
            + f" There {'are' if len(known) > 1 else 'is only'} {', '.join(known)}."
        )

    def find(self, name: str) -> Schedule | None:
        """The one of this name, if there is one."""
        return _read(Schedule, self.folder / f"{name}.json")

    def put(self, schedule: Schedule) -> None:
        """Write it, in place of the one of its name."""
        make_folder(self.folder)
        write_whole(self.folder / f"{schedule.name}.json", _json(schedule))

    def remove(self, name: str) -> None:
        """Forget it; what its runs said stays."""
        (self.folder / f"{name}.json").unlink(missing_ok=True)
        for mark in ("paused", "asked", "account.json"):
            (self.folder / name / mark).unlink(missing_ok=True)

    def account(self, name: str) -> Account:
        """What came of it so far."""
        return _read(Account, self.folder / name / "account.json") or Account()

    def keep(self, name: str, account: Account) -> None:
        """Write what came of it, unless it was removed meanwhile."""
        if (self.folder / f"{name}.json").exists():
            write_whole(self.home(name) / "account.json", _json(account))

    def paused(self, name: str) -> bool:
        """Whether it is paused."""
        return (self.folder / name / "paused").exists()

    def pause(self, name: str, paused: bool) -> None:
        """Let it rest, or no longer."""
        if paused:
            write_whole(self.home(name) / "paused", b"")
        else:
            (self.folder / name / "paused").unlink(missing_ok=True)

    def asked(self, name: str) -> str:
        """The newest `run-now`; empty where there was none."""
        try:
            return (self.folder / name / "asked").read_text()
        except FileNotFoundError:
            return ""

    def ask(self, name: str) -> None:
        """Have it run now."""
        write_whole(self.home(name) / "asked", uuid4().hex.encode())

    def home(self, name: str) -> Path:
        """The folder of its runs."""
        home = self.folder / name
        make_folder(home)
        return home

    def sweep(self, name: str) -> None:
        """Remove what runs said, but for the newest."""
        for log in sorted(self.home(name).glob("*.log"))[:-KEPT]:
            log.unlink()
            log.with_suffix(".json").unlink(missing_ok=True)


def moment(text: str) -> datetime:
    """The moment that a record says; one long ago where it says none."""
    return datetime.fromisoformat(text) if text else datetime(1970, 1, 1, tzinfo=UTC)


def _json(record: Schedule | Account) -> bytes:
    return json.dumps(asdict(record), indent=1).encode()


def _read(kind: type[Record], path: Path) -> Record | None:
    """The record in this file; None where there is none.

    Raises:
        UserError: somebody wrote something else there.
    """
    try:
        found: Mapping[str, Any] = json.loads(path.read_bytes())
        known = {field.name for field in fields(kind)}
        record = {name: value for name, value in found.items() if name in known}
        if "options" in record:
            record["options"] = tuple(record["options"])
        return kind(**record)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(
            f"{path} is no record of a schedule ({error}). Delete it; `perceiver schedule add RUN.toml "
            f"--cron ...` writes a schedule anew."
        ) from error
