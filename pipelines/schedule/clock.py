"""The clock of a workspace: begins each run when its time has come, one at a time, and keeps account of it.

One clock works on a workspace (a lease), and a run is recorded before it begins: a clock that takes over
finds the run that the dead one has left, waits for its end, and does nothing twice.
"""

import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.lease import STALE_SECONDS, Lease, holder, lease
from pipelines.progress import say
from pipelines.schedule import due
from pipelines.schedule.bell import Bell
from pipelines.schedule.child import Child, answer, began_training, found_held, last_words
from pipelines.schedule.due import Tick, Verdict
from pipelines.schedule.outcome import ended_well, outcome
from pipelines.schedule.records import Account, Schedule, Schedules, moment

LOOK_SECONDS = 2.0
"""Seconds between looks at what other commands have written, and at the wall clock, which may be set."""
SETBACK = timedelta(minutes=1)
"""A wall clock that was set back by more is worth a word."""


def place(workspace: Path) -> Path:
    """Where the lease of the workspace's clock lies."""
    return workspace / "clock"


def run(workspace: Path, write: Callable[[], None] = lambda: None) -> str:
    """Be the clock of this workspace until a signal, whose name is returned; `write` is called once it is.

    Raises:
        HeldError: another process is its clock.
        OvertakenError: another one has taken over meanwhile.
    """
    with lease(place(workspace), f"the clock of {workspace}") as held, Bell.hung() as bell:
        write()
        Clock(workspace, held, bell).go_on()
        return bell.rung[0]


def command(schedule: Schedule, force: bool) -> list[str]:
    """The command line of a run."""
    words = [sys.executable, "-m", "pipelines", "submit" if schedule.sends else "run", schedule.run_file]
    words += schedule.options
    if schedule.warm_start:
        words += ["--train.warm-start", schedule.warm_start]
    if force:
        words += ["--force", "train"]
    words.append("--renew")
    if schedule.sends:
        words += ["--follow", *(["--again"] if schedule.always else [])]
    return [*words, "--json"]


@dataclass
class Clock:
    """The clock at work."""

    workspace: Path
    held: Lease
    bell: Bell
    told: dict[str, str] = field(default_factory=dict[str, str])
    """The last word on each thing: it is said again only when it has changed."""

    @property
    def schedules(self) -> Schedules:
        """Those of the workspace."""
        return Schedules.of(self.workspace)

    def go_on(self) -> None:
        """Run what is due until the bell rings."""
        for schedule in self.schedules.all():
            self._take_up(schedule)
        while not self.bell.rung:
            self.held.check()
            work = self._due()
            if work:
                self._run(*work)
            else:
                self.bell.wait(min(LOOK_SECONDS, self._until_next()))

    def _take_up(self, schedule: Schedule) -> None:
        """See the run through that a dead clock has left."""
        account = self.schedules.account(schedule.name)
        if account.result != "running":
            return
        child = Child.adopted(account.host, account.pid, account.born)
        if child:
            tick = schedule.ticks.told(moment(account.tick))
            say(f"clock: {schedule.name}: its run of {tick} is still at work (process {child.pid}), though "
                f"its clock is gone: waiting for its end")  # fmt: skip
            self._see_through(schedule, account, child)
            return
        self._wait_for_holder()
        self._end(schedule, account, self._verdict(schedule, account, None, True))

    def _due(self) -> tuple[Schedule, Tick] | None:
        """What is to run first."""
        found: list[tuple[Schedule, Tick]] = []
        for schedule in self.schedules.all():
            asked, paused = self.schedules.asked(schedule.name), self.schedules.paused(schedule.name)
            tick = due.due(schedule, self.schedules.account(schedule.name), _now(), asked, paused)
            if tick:
                found.append((schedule, tick))
        return min(found, key=lambda work: work[1].at, default=None)

    def _until_next(self) -> float:
        """Seconds until something is due, of which a person is told."""
        now, comes = _now(), list[datetime]()
        for schedule in self.schedules.all():
            name, told = schedule.name, schedule.ticks.told
            if self.schedules.paused(name):
                self._tell(name, f"clock: {name}: paused")
                continue
            account = self.schedules.account(name)
            comes.append(due.following(schedule, account, now))
            done = due.from_here(schedule, account)
            back = (
                f" (the wall clock was set back: until {told(done)} all is done)"
                if done > now + SETBACK
                else ""
            )
            self._tell(name, f"clock: {name}: next at {told(comes[-1])}{back}")
        if not comes:
            self._tell("", "clock: nothing comes; it waits for `perceiver schedule add` or `resume`")
        return min(((at - now).total_seconds() for at in comes), default=LOOK_SECONDS)

    def _run(self, schedule: Schedule, tick: Tick) -> None:
        before = self.schedules.account(schedule.name)
        account = due.begun(before, tick, _now())
        account = replace(account, log=f"{tick.at:%Y-%m-%dT%H%M%SZ}-{account.attempt:02d}.log")
        # A job that is sent again does not force again what it has forced already.
        force = schedule.always and (schedule.sends or not before.half_trained)
        self._keep(schedule, account)
        try:
            child = Child.at_gate(
                command(schedule, force), Path(schedule.folder), self._log(schedule, account)
            )
        except OSError as error:
            self._end(
                schedule, account, Verdict(result="refused", what=f"it cannot begin: {error}", status=2)
            )
            return
        account = replace(account, host=socket.gethostname(), pid=child.pid, born=child.born)
        self._keep(schedule, account)
        say(f"clock: {schedule.name}: runs ({tick.why}, {schedule.ticks.told(tick.at)}); it writes to "
            f"{self._log(schedule, account)}")  # fmt: skip
        child.go()
        self._see_through(schedule, account, child)

    def _see_through(self, schedule: Schedule, account: Account, child: Child) -> None:
        """Wait for the end of a run; a signal is passed on to it."""
        passed = 0
        while not self.bell.wait(LOOK_SECONDS, child.handle):
            self.held.check()
            if len(self.bell.rung) > passed:
                passed = len(self.bell.rung)
                say(f"clock: {self.bell.rung[-1]}: {schedule.name} is told to stop, and waited for")
                child.stop()
        status = child.status()
        ended = self._verdict(schedule, account, status, bool(passed) or status is None)
        self._end(schedule, account, ended)
        if ended.what == WAITS:
            self._wait_for_holder()

    def _end(self, schedule: Schedule, account: Account, verdict: Verdict) -> None:
        after = due.ended(account, verdict, _now(), schedule.retry_seconds)
        self._keep(schedule, after)
        self.schedules.sweep(schedule.name)
        took = (moment(after.ended) - moment(after.began)).total_seconds()
        retry = f"; tried again at {schedule.ticks.told(moment(after.retry_at))}" if after.retry_at else ""
        say(f"clock: {schedule.name}: {verdict.result} after {took:.0f} s: {verdict.what}{retry}")

    def _wait_for_holder(self) -> None:
        """Wait until nobody is at work on the workspace who is alive."""
        seen, quiet = holder(self.workspace / "lease"), 0.0
        while seen and quiet < STALE_SECONDS and not self.bell.rung:
            self._tell("lease", f"clock: still at work on {self.workspace}: {seen}. Waiting for its end")
            self.bell.wait(LOOK_SECONDS)
            self.held.check()
            later = holder(self.workspace / "lease")
            quiet = quiet + LOOK_SECONDS if later == seen else 0.0
            seen = later
        if not seen:
            self.bell.wait(LOOK_SECONDS)

    def _keep(self, schedule: Schedule, account: Account) -> None:
        """Write it down; where there is no room, when there is some again.

        Raises:
            OSError: there was none until the bell rang.
        """
        while True:
            self.held.check()
            try:
                return self.schedules.keep(schedule.name, account)
            except OSError as error:
                if self.bell.rung:
                    raise
                self._tell(
                    "keep", f"clock: {schedule.name}: its account cannot be written ({error}): tried again"
                )
                self.bell.wait(LOOK_SECONDS)

    def _verdict(self, schedule: Schedule, account: Account, status: int | None, stopped: bool) -> Verdict:
        goes_on = account.attempt > 1 and not account.failures
        return verdict(self._log(schedule, account), status, stopped, goes_on)

    def _log(self, schedule: Schedule, account: Account) -> Path:
        return self.schedules.home(schedule.name) / (account.log or "none.log")

    def _tell(self, about: str, text: str) -> None:
        if self.told.get(about) != text:
            self.told[about] = text
            say(text)


WAITS = "another run is at work on the workspace; it runs when that has ended"


def verdict(log: Path, status: int | None, stopped: bool, goes_on: bool = False) -> Verdict:
    """What a run came to, by its answer, its exit status and its words."""
    found = answer(log)
    if ended_well(found, status):
        return Verdict(result="done", what=outcome(found or {}, goes_on), status=0)
    if stopped:
        result, what = "interrupted", "its next run goes on from there"
    elif status == 2 and found_held(log):
        result, what = "interrupted", WAITS
    else:
        result, what = "refused" if status == 2 else "failed", last_words(log)
    return Verdict(result=result, what=what, status=status, half_trained=began_training(log))


def _now() -> datetime:
    return datetime.now(UTC)
