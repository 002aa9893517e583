"""When a cron expression ticks in a time zone, also on the days on which its clocks are changed.

The fields are those of crontab and of Kubernetes' CronJob, and mean the same; a sixth in front gives seconds.
A tick in an hour that is left out comes an hour later; one in an hour that comes twice comes once, unless the
hour begins with `*`: then each hour that passes has its own.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from apscheduler.triggers.cron import CronTrigger

from cluster.mistake import UserError

FIELDS: tuple[str, ...] = ("second", "minute", "hour", "day", "month", "weekday")
MACROS = {
    "@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}  # fmt: skip
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
PART = re.compile(r"(?:\*|(?P<first>\d+)(?:-(?P<last>\d+))?)(?:/(?P<step>\d+))?")
FORM = (
    'Give minute, hour, day, month and weekday, as in "0 3 * * *" (every day at 3:00) or '
    '"*/15 8-18 * * 1-5"; six fields begin with the second.'
)
INSTANT = timedelta(microseconds=1)
LONGEST_GAP = timedelta(hours=25)
"""Samoa left out a day."""
COUNTED = 1000
"""Missed ticks that are counted; more are not told apart."""
WINDOWS = tuple(
    timedelta(minutes=1) * length for length in (1, 60, 1440, 32 * 1440, 366 * 1440, 9 * 366 * 1440)
)


@dataclass(frozen=True)
class Cron:
    """The ticks of an expression."""

    words: str
    zone: ZoneInfo
    triggers: tuple[CronTrigger, ...]
    """A tick of any of them is one: a day of the month and a weekday mean either, as in crontab. They tell of
    the wall clock as if it were UTC: in zones whose clocks are changed APScheduler 3.11 leaves out ticks (a
    Monday's at 0:00, after clocks were put forward on Sunday) and may stand still."""
    every_hour: bool

    @classmethod
    def read(cls, words: str, timezone: str) -> Self:
        """The ticks of `words` in the zone of this name.

        Raises:
            UserError: it is no cron expression, or never ticks, or there is no such zone.
        """
        zone, fields = _zone(timezone), _fields(words)
        days = [{"day": fields["day"]}, {"day_of_week": fields["weekday"]}]
        if "*" in (fields["day"], fields["weekday"]):
            days = [days[0] | days[1]]
        rest = {name: fields[name] for name in ("month", "hour", "minute", "second")}
        try:
            triggers = tuple(CronTrigger(**rest, **day, timezone=UTC) for day in days)
        except ValueError as error:
            raise UserError(f'The cron expression "{words}" is wrong: {error}. {FORM}') from error
        triggers = tuple(one for one in triggers if _next(one, datetime(2000, 1, 1, tzinfo=UTC)))
        if not triggers:
            raise UserError(f'The cron expression "{words}" never comes: no year has such a day. {FORM}')
        return cls(words, zone, triggers, fields["hour"].startswith("*"))

    def after(self, moment: datetime) -> datetime:
        """The first tick later than `moment`, in UTC."""
        return min(self._after(trigger, moment) for trigger in self.triggers)

    def missed(self, since: datetime, now: datetime) -> tuple[datetime, int] | None:
        """The latest tick after `since` until `now`, and how many there are, `COUNTED` at most."""
        tick = self.after(since)
        if tick > now:
            return None
        count = 1
        while count < COUNTED and (following := self.after(tick)) <= now:
            tick, count = following, count + 1
        return (tick if count < COUNTED else self._latest(now)), count

    def _latest(self, now: datetime) -> datetime:
        """The latest tick until `now`, without going through all before it."""
        tick = next(tick for window in WINDOWS if (tick := self.after(now - window)) <= now)
        while (following := self.after(tick)) <= now:
            tick = following
        return tick

    def _after(self, trigger: CronTrigger, moment: datetime) -> datetime:
        """The first tick of one trigger, which knows the wall clock, one stretch of time after another."""
        wall, at = moment + _offset(moment, self.zone), moment
        late = self._left_out(trigger, _change(self.zone, moment - LONGEST_GAP, moment), moment)
        while True:
            found = _next(trigger, wall)
            assert found, self.words  # it ticks, `read` has seen, and years repeat
            tick = found - _offset(at, self.zone)
            change = _change(self.zone, at, tick)
            if change and late:
                return late
            if change:
                late = self._left_out(trigger, change, moment)
                at, wall = change, change + _offset(change, self.zone) - INSTANT
            elif self.every_hour or not tick.astimezone(self.zone).fold:
                return min(tick, late) if late else tick
            else:
                at, wall = tick, found

    def _left_out(self, trigger: CronTrigger, change: datetime | None, moment: datetime) -> datetime | None:
        """The first tick after `moment` of the hour left out at `change`: it comes as much later."""
        if not change or self.every_hour:
            return None
        before = _offset(change - INSTANT, self.zone)
        found = _next(trigger, max(moment, change - INSTANT) + before)
        # Empty where clocks were put back.
        return found - before if found and found < change + _offset(change, self.zone) else None

    def told(self, moment: datetime) -> str:
        """`moment` as the clocks of the zone show it."""
        local = moment.astimezone(self.zone)
        return f"{local:%Y-%m-%d %H:%M}{f':{local:%S}' if local.second else ''} {local:%Z}"


@cache
def cron(words: str, timezone: str) -> Cron:
    """The same as `Cron.read`, once."""
    return Cron.read(words, timezone)


def _next(trigger: CronTrigger, wall: datetime) -> datetime | None:
    found: Any = trigger.get_next_fire_time(None, wall + INSTANT)
    return found


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def _change(zone: ZoneInfo, since: datetime, until: datetime) -> datetime | None:
    """The first moment after `since`, until `until`, at which clocks are changed."""
    before, sure = _offset(since, zone), since
    while _offset(sure, zone) == before:
        if sure == until:
            return None
        since, sure = sure, min(sure + timedelta(days=1), until)
    low, high = int(since.timestamp()), int(sure.timestamp())  # they are changed at whole seconds
    while high - low > 1:
        middle = (low + high) // 2
        same = _offset(datetime.fromtimestamp(middle, UTC), zone) == before
        low, high = (middle, high) if same else (low, middle)
    return datetime.fromtimestamp(high, UTC)


def _fields(words: str) -> Mapping[str, str]:
    if words.strip().startswith("@") and words.strip().lower() not in MACROS:
        raise UserError(f'The cron expression "{words}" is none of {", ".join(MACROS)}. {FORM}')
    found = MACROS.get(words.strip().lower(), words).lower().split()
    if len(found) not in (5, 6):
        raise UserError(f'The cron expression "{words}" has {len(found)} fields. {FORM}')
    fields: dict[str, str] = dict(zip(FIELDS, found if len(found) == 6 else ["0", *found], strict=True))
    fields["month"] = _numbered(fields["month"], MONTHS, 1)
    fields["weekday"] = _numbered(fields["weekday"], WEEKDAYS, 0)
    for name, field in fields.items():
        for part in field.split(","):
            if not PART.fullmatch(part):
                raise UserError(f'The cron expression "{words}" has the {name} "{part}". {FORM}')
    try:
        fields["weekday"] = _weekdays(fields["weekday"])
    except ValueError as error:
        raise UserError(f'The cron expression "{words}" has a wrong weekday: {error}. {FORM}') from error
    return fields


def _numbered(field: str, names: tuple[str, ...], first: int) -> str:
    """The field with numbers for names."""
    return re.sub(
        r"[a-z]+", lambda word: str(names.index(word[0]) + first) if word[0] in names else word[0], field
    )


def _weekdays(field: str) -> str:
    """Names instead of numbers: crontab's 0 and 7 are Sunday, the trigger's 0 is Monday."""
    if field == "*":
        return field
    days: set[int] = set()
    for part in field.split(","):
        found = PART.fullmatch(part)
        assert found  # has been looked at
        step, first = int(found["step"] or 1), int(found["first"] or 0)
        last = int(found["last"]) if found["last"] else first if found["first"] and not found["step"] else 6
        if max(first, last) > 7 or first > last or step < 1:
            raise ValueError(f"{part} is not of 0 to 7, from less to more")
        days |= {day % 7 for day in range(first, last + 1, step)}
    return ",".join(WEEKDAYS[day] for day in sorted(days))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UserError(
            f"There is no time zone {name!r}.{_nearest(name)} Zones have names such as Europe/Berlin, "
            f"America/New_York or UTC."
        ) from error


def _nearest(name: str) -> str:
    """The zone that may be meant, by its whole name or by the city alone."""
    zones = {zone.lower(): zone for zone in sorted(available_timezones())}
    cities = {zone.rpartition("/")[2].lower(): zone for zone in zones.values()}
    wanted = name.strip().lower().replace(" ", "_")
    for known in (zones, cities):
        near = difflib.get_close_matches(wanted, known, n=1, cutoff=0.7)
        if near:
            return f" Perhaps you meant {known[near[0]]}."
    return ""
