"""One process at a time holds a lease, and whoever was taken for dead knows it before it writes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from small_disk import free, small_disk

from cluster.mistake import UserError
from cluster.storage import untouched
from pipelines.attempts import Attempts
from pipelines.lease import HeldError, holder, lease

DRIVER = Path(__file__).parent.parent / "leaseholder.py"
PATIENCE = 240
STALE = 30.0
"""Seconds; a busy disk keeps a holder from being heard of for some."""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "lease"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def start(place: Path, log: Path) -> Iterator[Start]:
    """Starts a process that wants the lease; all that are left are killed."""
    started: list[subprocess.Popen[str]] = []

    def begin(*words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, str(DRIVER), str(place), str(STALE), str(log), *words]
        environment = {"PYTHONPATH": str(DRIVER.parent.parent), "PATH": "/usr/bin"}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, text=True, env=environment, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def until_said(log: Path, text: str) -> None:
    until = time.monotonic() + PATIENCE
    while text not in (log.read_text() if log.exists() else ""):
        assert time.monotonic() < until, text
        time.sleep(0.02)


def ask(process: "subprocess.Popen[str]") -> None:
    """Have it check."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()


def test_numbers_rise_and_no_more_than_the_newest_holder_is_kept(place: Path) -> None:
    numbers = []
    for _ in range(4):
        with lease(place, "it") as held:
            held.check()
            numbers.append(held.number)

    assert numbers == [1, 2, 3, 4]
    assert len([one for one in place.iterdir() if one.name.startswith("a")]) == 2
    assert len(list(place.iterdir())) <= 4
    assert holder(place) is None


def test_a_second_one_is_refused_with_the_name_of_the_first_which_goes_on(
    place: Path, log: Path, start: Start
) -> None:
    first = start()
    until_said(log, "held 1")

    with pytest.raises(HeldError) as refusal, lease(place, "the workflow in work/a"):
        pass
    ask(first)
    until_said(log, "good")

    assert "The workflow in work/a is at work already: `leaseholder.py" in str(refusal.value)
    assert f"process {first.pid} on" in str(refusal.value)
    assert Attempts(untouched(str(place))).newest() == 1
    found = holder(place)
    assert found is not None
    assert found.pid == first.pid


@pytest.mark.parametrize("reaped", [True, False])
def test_one_that_was_killed_is_taken_over_at_once_on_its_machine(
    place: Path, log: Path, start: Start, reaped: bool
) -> None:
    first = start()
    until_said(log, "held 1")
    first.send_signal(signal.SIGKILL)
    if reaped:
        first.wait()

    # Were it waited for, the test would take an hour.
    with lease(place, "it", stale_seconds=3600) as held:
        assert held.number == 2


@pytest.mark.slow
def test_a_frozen_one_is_taken_over_and_learns_by_whom_when_it_thaws(
    place: Path, log: Path, start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    first = start()
    until_said(log, "held 1")
    first.send_signal(signal.SIGSTOP)

    with lease(place, "it", stale_seconds=8.0) as held:
        first.send_signal(signal.SIGCONT)
        ask(first)
        until_said(log, "has taken over: this process (lease 1 of")
        held.check()

        assert held.number == 2
    said = log.read_text()
    assert f"(process {os.getpid()} on" in said
    assert "it was left by `leaseholder.py" in capfd.readouterr().err


@pytest.mark.slow
def test_of_eight_at_once_one_at_a_time_is_inside(log: Path, start: Start) -> None:
    processes = [start("2") for _ in range(8)]

    for process in processes:
        assert process.wait(PATIENCE * 2) == 0, process.stderr and process.stderr.read()
    turns = [line.split() for line in log.read_text().splitlines() if line != "refused"]
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    assert len(pairs) == 16
    assert all((entered[0], left) == ("in", ["out", entered[1]]) for entered, left in pairs)
    numbers = [int(entered[1]) for entered, _ in pairs]
    assert numbers == sorted(set(numbers))


def test_one_that_died_before_it_had_a_name_is_taken_over_after_a_while(place: Path) -> None:
    untouched(str(place)).create("a0007", b"")

    with lease(place, "it", stale_seconds=0.5) as held:
        assert held.number == 8


def test_what_another_machine_left_is_watched_before_it_is_taken(
    place: Path, log: Path, start: Start
) -> None:
    first = start()
    until_said(log, "held 1")
    first.kill()
    first.wait()
    (record,) = place.glob("holder-*.json")
    record.write_text(record.read_text().replace('"machine": "', '"machine": "another '))
    found = holder(place)

    with lease(place, "it", stale_seconds=0.5) as held:
        assert held.number == 2
    assert found is not None, "nobody here knows whether it is dead"
    assert found.pid == first.pid


def test_a_full_disk_refuses_the_newcomer_and_takes_nothing_from_the_holder(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        place = disk / "lease"
        with lease(place, "it") as held:
            (disk / "much").write_bytes(b"\0" * free(disk))

            with pytest.raises(UserError, match="no room left"), lease(place, "it", 0.1):
                pass

            held.check()
        (disk / "much").unlink()
        with lease(place, "it", 0.1) as later:
            assert later.number == 2
