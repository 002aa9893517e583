"""What a schedule has to do, whatever the wall clock does."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pipelines.schedule.due import RETRIES, Tick, Verdict, begun, due, ended, following
from pipelines.schedule.records import Account, Schedule, moment

START = datetime(2027, 3, 27, 12, tzinfo=UTC)
"""The day before clocks are put forward in Berlin."""
HOUR = timedelta(hours=1)
results = st.sampled_from(["done", "failed", "refused", "interrupted"])
jumps = st.timedeltas(timedelta(days=-3), timedelta(days=3))


def nightly(cron: str = "30 2 * * *") -> Schedule:
    return Schedule(
        name="nightly", run_file="run.toml", folder="/", options=(), cron=cron, timezone="Europe/Berlin",
        since=START.isoformat(),
    )  # fmt: skip


def ran(
    account: Account, tick: Tick, now: datetime, result: str = "done", retry_seconds: float = 60
) -> Account:
    return ended(begun(account, tick, now), Verdict(result=result, what="so"), now, retry_seconds)


def run(
    schedule: Schedule, account: Account, now: datetime, result: str = "done"
) -> tuple[Account, Tick | None]:
    """The account afterwards, and what ran."""
    tick = due(schedule, account, now)
    return (ran(account, tick, now, result), tick) if tick else (account, None)


def test_nothing_runs_before_its_time_nor_twice() -> None:
    schedule, tick = nightly(), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)

    assert due(schedule, Account(), tick - timedelta(seconds=1)) is None
    account, first = run(schedule, Account(), tick)
    assert first == Tick(at=tick, why="its time has come")
    assert due(schedule, account, tick) is None
    assert following(schedule, account, tick) == tick + 23 * HOUR


@given(
    st.sampled_from(["30 2 * * *", "*/30 * * * *", "0 */5 * * 1-5"]),
    st.lists(st.tuples(jumps, results, st.booleans()), max_size=30),
)
def test_no_tick_runs_twice_and_none_stays_due_whatever_the_wall_clock_does(
    words: str, looks: list[tuple[timedelta, str, bool]]
) -> None:
    schedule, account, now = nightly(words), Account(), START
    fresh: list[datetime] = []

    for number, (jump, result, asks) in enumerate(looks):
        now += jump
        tick = due(schedule, account, now, str(number) if asks else "")
        account = ran(account, tick, now, result) if tick else account
        if tick and not tick.again and not tick.asked:
            fresh.append(tick.at)
        again = due(schedule, account, now)
        assert again is None or (again.again and account.result == "interrupted")

    assert fresh == sorted(set(fresh))
    assert all(schedule.ticks.after(at - timedelta(seconds=1)) == at for at in fresh)


def test_missed_ticks_run_as_one() -> None:
    schedule = nightly("0 * * * *")
    now = START + 10 * HOUR + timedelta(minutes=1)

    account, tick = run(schedule, Account(), now)

    assert tick == Tick(at=START + 10 * HOUR, why="10 ticks as one")
    assert due(schedule, account, now + timedelta(minutes=58)) is None


def test_ticks_that_come_while_it_works_are_one() -> None:
    schedule, first = nightly("0 * * * *"), START + HOUR
    tick = due(schedule, Account(), first)
    assert tick

    account = ended(begun(Account(), tick, first), Verdict(result="done", what=""), first + 5 * HOUR / 2, 60)

    again = due(schedule, account, first + 5 * HOUR / 2)
    assert again == Tick(at=first + 2 * HOUR, why="2 ticks as one")


def test_a_failed_run_is_tried_three_times_more_each_time_later_and_then_waits_for_its_tick() -> None:
    schedule, now = nightly(), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    account, tick = run(schedule, Account(), now, "failed")
    pauses: list[float] = []

    for number in range(RETRIES):
        at = following(schedule, account, now)
        assert due(schedule, account, at - timedelta(seconds=1)) is None
        pauses.append((at - now).total_seconds())
        now = at
        account, retry = run(schedule, account, now, "failed")
        assert tick
        assert retry == Tick(at=tick.at, why=f"try {number + 2} of 4", again=True)

    assert pauses == [60, 240, 960]
    assert (account.attempt, account.failures, account.retry_at) == (4, 4, "")
    assert due(schedule, account, now + 20 * HOUR) is None
    assert following(schedule, account, now) == datetime(2027, 3, 29, 0, 30, tzinfo=UTC)


def test_a_new_tick_ends_the_tries_of_the_one_before() -> None:
    schedule, now = nightly("* * * * *"), START + timedelta(minutes=1)
    account, _ = run(schedule, Account(), now, "failed")

    account, tick = run(schedule, account, now + timedelta(minutes=1), "failed")

    assert tick
    assert not tick.again
    assert (account.attempt, account.failures) == (1, 1)


def test_a_retry_does_not_wait_for_a_wall_clock_that_was_set_back() -> None:
    schedule, now = nightly(), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    account, _ = run(schedule, Account(), now, "failed")

    assert due(schedule, account, now - timedelta(days=300))


def test_a_refused_run_waits_for_its_next_tick() -> None:
    schedule, now = nightly(), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)

    account, _ = run(schedule, Account(), now, "refused")

    assert due(schedule, account, now + 20 * HOUR) is None


def test_an_interrupted_run_goes_on_at_once_and_as_the_same_tick() -> None:
    schedule, now = nightly(), datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    account, tick = run(schedule, Account(), now, "interrupted")

    again, repeated = run(schedule, account, now + HOUR)

    assert following(schedule, account, now + HOUR) == now + HOUR
    assert tick
    assert repeated == Tick(at=tick.at, why="again, as it was interrupted", again=True)
    assert (again.attempt, again.covered >= account.covered) == (2, True)


def test_a_training_that_was_begun_is_known_until_a_run_has_come_to_its_end() -> None:
    now, tick = START, Tick(at=START, why="", again=True)

    def after(account: Account, result: str, half_trained: bool) -> Account:
        verdict = Verdict(result=result, what="", half_trained=half_trained)
        return ended(begun(account, tick, now), verdict, now, 60)

    stopped = after(Account(), "interrupted", True)
    stopped_again = after(stopped, "interrupted", False)
    done = after(stopped_again, "done", False)

    assert [one.half_trained for one in (stopped, stopped_again, done)] == [True, True, False]


def test_run_now_is_obeyed_once_and_also_while_paused() -> None:
    schedule, now = nightly(), START + HOUR

    tick = due(schedule, Account(), now, asked="one", paused=True)

    assert tick == Tick(at=now, why="asked for", asked="one")
    account = ran(Account(), tick, now)
    assert due(schedule, account, now, asked="one") is None
    assert due(schedule, account, now, asked="two")


def test_ticks_while_paused_are_left_out_once_it_is_resumed() -> None:
    schedule, now = nightly("0 * * * *"), START + 5 * HOUR

    assert due(schedule, Account(), now, paused=True) is None
    resumed = replace(schedule, since=now.isoformat())
    assert due(resumed, Account(), now + timedelta(minutes=59)) is None
    assert due(resumed, Account(), now + HOUR) == Tick(at=now + HOUR, why="its time has come")


def test_a_schedule_begins_with_the_first_tick_after_it_was_written() -> None:
    schedule = nightly("0 * * * *")

    assert due(schedule, Account(), moment(schedule.since)) is None
    assert following(schedule, Account(), moment(schedule.since)) == START + HOUR
