"""What an attempt's time went into is known whatever ends it."""

import random
import time
from dataclasses import replace
from pathlib import Path

import pytest
from groups import forked
from hypothesis import given
from hypothesis import strategies as st

from pipelines.training.on_ray import in_words
from pipelines.training.pulse import LINE, Account, Pulse, accounts, goodput, path_of

ACCOUNT = Account(attempt=1, workers=2, began=1000.0, first=10, furthest=15, step=10, last=1000.0)


def test_steps_that_were_taken_before_count_as_done_again() -> None:
    account = ACCOUNT
    for _ in range(8):
        account = account.stepped(0.5, 0.125)
    account = account.waited(2.0)

    assert (account.step, account.steps_redone) == (18, 5)
    assert (account.redone, account.useful, account.waiting) == (2.5, 1.5, 3.0)
    assert account.last > time.time() - 60


@pytest.mark.parametrize(("step", "redone"), [(10, 0), (12, 2), (15, 5), (40, 5)])
def test_an_attempt_does_no_more_steps_again_than_it_does(step: int, redone: int) -> None:
    assert replace(ACCOUNT, step=step).steps_redone == redone


PARTS = st.floats(0.001, 1000)


@given(st.lists(st.tuples(PARTS, PARTS, PARTS), min_size=1, max_size=6))
def test_the_parts_of_the_time_add_up_to_all_of_it(attempts: list[tuple[float, float, float]]) -> None:
    known, now = [], 1000.0
    for number, (useful, redone, idle) in enumerate(attempts):
        last = now + useful + redone + idle
        known.append(replace(ACCOUNT, attempt=number, began=now, last=last, useful=useful, redone=redone))
        now = last + 5.0  # until the next attempt has begun

    found = goodput(known)

    whole = known[-1].last - 1000.0
    seconds = [found[f"work/{part}_seconds"] for part in ("useful", "redone", "waiting")]
    assert sum(seconds) == pytest.approx(whole)
    assert found["work/useful_seconds"] == pytest.approx(sum(useful for useful, _, _ in attempts))
    assert found["work/goodput"] * max(whole, 1e-9) == pytest.approx(found["work/useful_seconds"])
    assert found["work/attempts"] == len(attempts)


def test_the_next_attempt_knows_how_far_the_furthest_came(tmp_path: Path) -> None:
    for attempt, (begin, steps) in enumerate(((0, 9), (8, 1), (4, 2)), start=1):
        pulse = Pulse.begin(tmp_path, attempt, 2, begin)
        for _ in range(steps):
            pulse.beat(pulse.account.stepped(0.1, 0.0))
        pulse.end()

    assert [(one.first, one.furthest, one.step) for one in accounts(tmp_path)] == [
        (0, 0, 9),
        (8, 9, 9),
        (4, 9, 6),
    ]
    assert goodput(accounts(tmp_path))["work/redone_steps"] == 3


@pytest.mark.parametrize(
    ("accounts_of", "words"),
    [
        ([(0, 0, 30, 36.0, 0.0)], "36 s of steps, 2 s of waiting"),
        (
            [(0, 0, 20, 36.0, 0.0), (19, 20, 30, 9.0, 1.0)],
            "goodput 90% of 2 attempts, 1 step done again: 45 s useful, 1 s redone, 4 s waiting",
        ),
    ],
)
def test_an_undisturbed_training_says_what_its_time_went_into_without_big_words(
    accounts_of: list[tuple[int, int, int, float, float]], words: str
) -> None:
    now, known = 1000.0, list[Account]()
    for first, furthest, step, useful, redone in accounts_of:
        last = now + useful + redone + 2.0
        known.append(
            replace(
                ACCOUNT,
                began=now,
                last=last,
                first=first,
                furthest=furthest,
                step=step,
                useful=useful,
                redone=redone,
            )
        )
        now = last

    assert in_words(goodput(known)) == words


@pytest.mark.parametrize("kept", [0, 1, 60, 120])
def test_a_line_that_is_half_written_is_left_out(tmp_path: Path, kept: int) -> None:
    for attempt in (1, 2):
        Pulse.begin(tmp_path, attempt, 2, 0).end()
    path = path_of(tmp_path, 2)
    path.write_bytes(path.read_bytes()[:kept])

    assert [one.attempt for one in accounts(tmp_path)] == [1]
    assert Pulse.begin(tmp_path, 3, 2, 5).account.first == 5


def test_a_line_whose_first_part_is_newer_than_its_rest_is_left_out(tmp_path: Path) -> None:
    Pulse.begin(tmp_path, 1, 2, 0).end()
    path = path_of(tmp_path, 1)
    line = path.read_text()
    path.write_text('{"attempt": 1, "workers": 2, "beg' + line[20:])

    assert accounts(tmp_path) == []


def test_a_line_is_overwritten_whatever_its_length(tmp_path: Path) -> None:
    pulse = Pulse.begin(tmp_path, 1, 2, 0)
    long = replace(
        pulse.account, step=10**12, useful=1e8 / 3, redone=1e8 / 7, waiting=1e8 / 9, furthest=10**12
    )
    for account in (long, pulse.account, long):
        pulse.beat(account)

        assert accounts(tmp_path) == [account]
        assert path_of(tmp_path, 1).stat().st_size == LINE


def beat(folder: Path, attempt: int) -> None:
    """Steps as fast as they come, of lines of all lengths."""
    pulse = Pulse.begin(folder, attempt, 1, 0)
    while True:
        pulse.beat(pulse.account.stepped(1 / 3, 1 / 7))


@pytest.mark.slow
def test_a_kill_at_any_moment_leaves_a_whole_account(tmp_path: Path, chance: random.Random) -> None:
    for attempt in range(1, 31):
        process = forked(beat, tmp_path, attempt)
        while not path_of(tmp_path, attempt).exists():
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.02))
        process.kill()
        process.join()

    found = accounts(tmp_path)

    assert len(found) >= 25  # some may have been killed before their first line
    assert sum(one.step for one in found) > 1000
    for one in found:
        seconds = one.useful + one.redone
        assert seconds == pytest.approx(one.step / 3)
        assert one.waiting == pytest.approx(one.step / 7)
