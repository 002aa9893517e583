"""What a schedule has to do now, and what its account says afterwards: functions of moments, nothing else.

`covered` only grows: whatever the wall clock does, no tick runs twice, and those that were missed are one.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pipelines.schedule.cron import COUNTED
from pipelines.schedule.records import Account, Schedule, moment

RETRIES = 3
"""Times that a failed run is tried again before the next tick."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """A run that is due."""

    at: datetime
    why: str
    asked: str = ""
    again: bool = False
    """Whether it is the same tick as the run before."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a run came to."""

    result: str
    what: str
    status: int | None = None
    half_trained: bool = False
    """Whether it got as far as training, and not to its end."""


def due(
    schedule: Schedule, account: Account, now: datetime, asked: str = "", paused: bool = False
) -> Tick | None:
    """What runs now, if anything does."""
    if asked and asked != account.asked:
        return Tick(at=now, why="asked for", asked=asked)
    if paused:
        return None
    missed = schedule.ticks.missed(from_here(schedule, account), now)
    if missed:
        return Tick(at=missed[0], why=_why(missed[1]))
    if account.result == "interrupted":
        return Tick(at=moment(account.tick), why="again, as it was interrupted", again=True)
    if retries(account) and (now >= moment(account.retry_at) or now < moment(account.ended)):
        return Tick(at=moment(account.tick), why=f"try {account.failures + 1} of {RETRIES + 1}", again=True)
    return None


def following(schedule: Schedule, account: Account, now: datetime) -> datetime:
    """When it runs next by itself; not before `now`."""
    if account.result == "interrupted":
        return now
    tick = schedule.ticks.after(max(from_here(schedule, account), now))
    return min(tick, max(now, moment(account.retry_at))) if retries(account) else tick


def from_here(schedule: Schedule, account: Account) -> datetime:
    """Ticks until then are done with."""
    return max(moment(schedule.since), moment(account.covered))


def retries(account: Account) -> bool:
    """Whether it is to be tried again."""
    return account.result == "failed" and 0 < account.failures <= RETRIES


def begun(account: Account, tick: Tick, now: datetime) -> Account:
    """The account of a run that is about to begin; ticks until `now` are served by it."""
    return replace(
        account, result="running", what="", status=None, why=tick.why, tick=tick.at.isoformat(),
        covered=max(now, tick.at, moment(account.covered)).isoformat(), asked=tick.asked or account.asked,
        attempt=account.attempt + 1 if tick.again else 1, failures=account.failures if tick.again else 0,
        began=now.isoformat(), ended="", retry_at="", host="", pid=0, born=0,
    )  # fmt: skip


def ended(account: Account, verdict: Verdict, now: datetime, retry_seconds: float) -> Account:
    """The account of a run that has come to this."""
    failures = account.failures + 1 if verdict.result == "failed" else account.failures
    after = replace(
        account, result=verdict.result, what=verdict.what, status=verdict.status, ended=now.isoformat(),
        failures=failures, pid=0, born=0, host="",
        half_trained=verdict.result != "done" and (account.half_trained or verdict.half_trained),
    )  # fmt: skip
    if not retries(after):
        return after
    pause = timedelta(seconds=retry_seconds * 4 ** (failures - 1))
    return replace(after, retry_at=(now + pause).isoformat())


def _why(count: int) -> str:
    if count == 1:
        return "its time has come"
    return f"{'more than ' if count == COUNTED else ''}{count:,} ticks as one"
