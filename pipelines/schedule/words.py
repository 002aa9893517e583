"""A schedule for a person: when it runs next, what came of the last run, and where its words are."""

from datetime import UTC, datetime
from typing import Any

from pipelines.schedule import due
from pipelines.schedule.records import Account, Schedule, Schedules, moment

Fact = dict[str, Any]


def fact(schedules: Schedules, schedule: Schedule, now: datetime) -> Fact:
    """All that is known of a schedule, as --json prints it."""
    account = schedules.account(schedule.name)
    paused = schedules.paused(schedule.name)
    waits = due.due(schedule, account, now, schedules.asked(schedule.name), paused)
    log = str(schedules.folder / schedule.name / account.log) if account.log else ""
    return {
        "name": schedule.name, "run_file": schedule.run_file, "folder": schedule.folder,
        "options": list(schedule.options), "cron": schedule.cron, "timezone": schedule.timezone,
        "always": schedule.always, "warm_start": schedule.warm_start, "paused": paused,
        "next": None if paused else _next(schedule, account, now).isoformat(),
        "waits": waits.why if waits else "",
        "last": {
            "tick": account.tick, "why": account.why, "began": account.began, "ended": account.ended,
            "result": account.result, "what": account.what, "status": account.status,
            "attempt": account.attempt, "retry_at": account.retry_at, "log": log,
        } if account.tick else None,
    }  # fmt: skip


def _next(schedule: Schedule, account: Account, now: datetime) -> datetime:
    return schedule.ticks.after(max(due.from_here(schedule, account), now))


def lines(schedule: Schedule, found: Fact) -> list[str]:
    """The same in words."""
    extra = [f"--warm-start {schedule.warm_start}"] * bool(schedule.warm_start) + [
        "--always"
    ] * schedule.always
    given = " ".join([schedule.run_file, *schedule.options, *extra])
    told = [
        f"{schedule.name}  {schedule.cron}  {schedule.timezone}  {given}",
        f"  next  {next_words(schedule, found)}",
    ]
    last = found["last"]
    if not last:
        return [*told, "  last  none yet"]
    took = ""
    if last["ended"]:
        took = f" after {(moment(last['ended']) - moment(last['began'])).total_seconds():.0f} s"
    what = f": {last['what']}" if last["what"] else ""
    told.append(
        f"  last  {schedule.ticks.told(moment(last['tick']))} ({last['why']}): {last['result']}{took}{what}"
    )
    if last["retry_at"]:
        told.append(f"  retry {schedule.ticks.told(moment(last['retry_at']))}")
    return [*told, f"  log   {last['log']}"]


def next_words(schedule: Schedule, found: Fact) -> str:
    """When it runs next, here and in UTC."""
    running = found["last"] and found["last"]["result"] == "running"
    soon = "when the run under way has ended" if running else "now"
    waits = f"{soon} ({found['waits']})" if found["waits"] else ""
    if found["paused"]:
        return " ".join([*([waits] if waits else []), "paused"])
    at = moment(found["next"])
    utc = at.astimezone(UTC)
    tick, there = schedule.ticks.told(at), f"{utc:%Y-%m-%d %H:%M}{f':{utc:%S}' if utc.second else ''} UTC"
    tick = tick if tick == there else f"{tick} ({there})"
    return f"{waits}, then {tick}" if waits else tick
