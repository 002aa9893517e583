"""When a cron expression ticks."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.mistake import UserError
from pipelines.schedule.cron import COUNTED, Cron, cron

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = datetime(2027, 3, 28, 1, tzinfo=UTC), datetime(2027, 10, 31, 1, tzinfo=UTC)
"""When clocks in Berlin are changed: 2:00 -> 3:00, and 3:00 -> 2:00."""
ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Sao_Paulo",
    "Pacific/Apia",
    "UTC",
)

minutes = st.sampled_from(["0", "30", "*/20", "5,45", "10-12"])
hours = st.sampled_from(["*", "*/2", "0", "1", "2", "3", "1-3", "2,14", "0-23"])
days = st.sampled_from(["*", "1", "28", "31", "*/2", "15-31"])
weekdays = st.sampled_from(["*", "0", "1-5", "sun", "mon,wed", "7"])
expressions = st.builds(lambda *words: " ".join(words), minutes, hours, days, st.just("*"), weekdays)
moments = st.datetimes(datetime(2009, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
near_changes = st.builds(
    lambda change, seconds: change + timedelta(seconds=seconds),
    st.sampled_from([SPRING, AUTUMN]),
    st.integers(-30 * 3600, 30 * 3600),
)


def ticks(words: str, since: datetime, count: int, zone: str = "Europe/Berlin") -> list[str]:
    """The next ticks, by the clocks there."""
    found, at = [], since
    for _ in range(count):
        at = cron(words, zone).after(at)
        found.append(f"{at.astimezone(ZoneInfo(zone)):%a %d %H:%M %Z}")
    return found


def test_no_tick_is_lost_behind_a_change_of_clocks() -> None:
    friday = SPRING - timedelta(days=2)

    assert ticks("0 0 * * 1", friday, 2) == ["Mon 29 00:00 CEST", "Mon 05 00:00 CEST"]
    assert ticks("0 * * * 1", friday, 2) == ["Mon 29 00:00 CEST", "Mon 29 01:00 CEST"]


def test_a_tick_in_the_hour_left_out_comes_an_hour_later_and_once() -> None:
    assert ticks("30 2 * * *", SPRING - timedelta(hours=2), 2) == ["Sun 28 03:30 CEST", "Mon 29 02:30 CEST"]
    assert ticks("0 2,3 * * *", SPRING - timedelta(hours=2), 2) == ["Sun 28 03:00 CEST", "Mon 29 02:00 CEST"]


def test_a_tick_of_the_hour_left_out_is_there_whenever_one_asks() -> None:
    tick = SPRING + timedelta(minutes=30)

    assert cron("30 2 * * *", "Europe/Berlin").after(SPRING + timedelta(minutes=20)) == tick
    assert cron("30 2 * * *", "Europe/Berlin").after(tick) == tick + timedelta(hours=23)


def test_a_tick_in_the_hour_that_comes_twice_comes_once() -> None:
    assert ticks("30 2 * * *", AUTUMN - timedelta(hours=2), 2) == ["Sun 31 02:30 CEST", "Mon 01 02:30 CET"]


def test_where_every_hour_has_its_tick_each_hour_that_passes_has_one() -> None:
    assert ticks("30 * * * *", SPRING - timedelta(hours=1), 3) == [
        "Sun 28 01:30 CET", "Sun 28 03:30 CEST", "Sun 28 04:30 CEST",
    ]  # fmt: skip
    assert ticks("30 * * * *", AUTUMN - timedelta(hours=1), 3) == [
        "Sun 31 02:30 CEST", "Sun 31 02:30 CET", "Sun 31 03:30 CET",
    ]  # fmt: skip


def is_tick(words: str, at: datetime) -> bool:
    """Whether a minute is one, by the fields alone: slow, and by another way."""
    hour = words.split()[1]
    local = at.astimezone(BERLIN)
    if local.fold and not hour.startswith("*"):
        return False
    if matches(words, local):
        return True
    left_out = local.replace(tzinfo=None) - timedelta(hours=1)
    gone = SPRING <= at < SPRING + timedelta(hours=1)
    return gone and not hour.startswith("*") and matches(words, left_out)


def matches(words: str, at: datetime) -> bool:
    minute, hour, day, _, weekday = words.replace("sun", "0").replace("mon,wed", "1,3").split()
    on_day, on_weekday = holds(day, at.day, 1), holds(weekday, at.isoweekday() % 7, 0) or (
        weekday == "7" and at.isoweekday() == 7
    )  # fmt: skip
    either = on_day or on_weekday if "*" not in (day, weekday) else on_day and on_weekday
    return holds(minute, at.minute, 0) and holds(hour, at.hour, 0) and either


def holds(field: str, value: int, least: int) -> bool:
    for part in field.split(","):
        if part == "*" or (part.startswith("*/") and (value - least) % int(part[2:]) == 0):
            return True
        first, _, last = part.partition("-")
        if first.isdigit() and int(first) <= value <= int(last or first):
            return True
    return False


@given(expressions, near_changes)
def test_ticks_near_a_change_of_clocks_are_those_that_the_fields_say(words: str, since: datetime) -> None:
    minute = since.replace(second=0) + timedelta(minutes=1)
    expected = next(
        (at for number in range(1500) if is_tick(words, at := minute + timedelta(minutes=number))), None
    )

    found = cron(words, "Europe/Berlin").after(since)

    assert found == expected if expected else found > minute


@given(expressions, st.sampled_from(ZONES), moments, st.floats(0, 0.99))
def test_the_next_tick_is_the_same_for_whoever_asks_before_it(
    words: str, zone: str, since: datetime, share: float
) -> None:
    found = cron(words, zone).after(since)

    assert found > since
    assert cron(words, zone).after(since + (found - since) * share) == found


@given(expressions, st.sampled_from(ZONES), moments, st.timedeltas(timedelta(0), timedelta(days=4)))
def test_missed_ticks_are_the_latest_and_their_number(
    words: str, zone: str, since: datetime, gone: timedelta
) -> None:
    now, one_by_one, at = since + gone, [], since
    while len(one_by_one) < COUNTED and (at := cron(words, zone).after(at)) <= now:
        one_by_one.append(at)

    missed = cron(words, zone).missed(since, now)

    if len(one_by_one) < COUNTED:
        assert missed == ((one_by_one[-1], len(one_by_one)) if one_by_one else None)
    else:
        assert missed
        assert missed[1] == COUNTED
        assert missed[0] <= now < cron(words, zone).after(missed[0])


def test_years_of_missed_seconds_are_not_gone_through() -> None:
    now = datetime(2027, 1, 1, 12, 0, 0, 5, tzinfo=UTC)

    assert cron("* * * * * *", "UTC").missed(datetime(2000, 1, 1, tzinfo=UTC), now) == (
        now.replace(microsecond=0), COUNTED,
    )  # fmt: skip


def test_weekdays_are_those_of_crontab_and_six_fields_begin_with_the_second() -> None:
    since = datetime(2026, 11, 28, 12, tzinfo=UTC)  # a Saturday

    for sunday in ("0", "7", "sun", "SUN"):
        assert ticks(f"0 3 * * {sunday}", since, 1, "UTC") == ["Sun 29 03:00 UTC"]
    assert ticks("0 3 * * 5-7", since, 3, "UTC") == [
        "Sun 29 03:00 UTC",
        "Fri 04 03:00 UTC",
        "Sat 05 03:00 UTC",
    ]
    assert ticks("0 3 * * mon-fri/2", since, 2, "UTC") == ["Mon 30 03:00 UTC", "Wed 02 03:00 UTC"]
    assert cron("*/20 * * * * *", "UTC").after(since) == since + timedelta(seconds=20)
    assert cron("@daily", "UTC").after(since) == since + timedelta(hours=12)


def test_a_day_and_a_weekday_mean_either() -> None:
    since = datetime(2026, 11, 28, 12, tzinfo=UTC)

    assert ticks("0 3 1 * mon", since, 3, "UTC") == [
        "Mon 30 03:00 UTC",
        "Tue 01 03:00 UTC",
        "Mon 07 03:00 UTC",
    ]


@pytest.mark.parametrize(
    ("words", "zone", "said"),
    [
        ("0 3 * *", "UTC", "has 4 fields"),
        ("@dayly", "UTC", "none of @hourly"),
        ("0 25 * * *", "UTC", "higher than the maximum value"),
        ("0 3 31 2 *", "UTC", "never comes"),
        ("0 3 * * foo", "UTC", 'the weekday "foo"'),
        ("0 3 * * 8", "UTC", "not of 0 to 7"),
        ("0 3 * * fri-mon", "UTC", "from less to more"),
        ("*/0 3 * * *", "UTC", "higher than 0"),
        ("0 3 last * *", "UTC", 'the day "last"'),
        ("0 3 * * *", "Europe/Berln", "meant Europe/Berlin"),
        ("0 3 * * *", "europe/berlin", "meant Europe/Berlin"),
        ("0 3 * * *", "New York", "meant America/New_York"),
        ("0 3 * * *", "../passwd", "no time zone"),
    ],
)
def test_a_wrong_expression_or_zone_is_refused_with_the_way_out(words: str, zone: str, said: str) -> None:
    with pytest.raises(UserError, match=r"Give minute|Zones have names") as refusal:
        Cron.read(words, zone)

    assert said in str(refusal.value)
