"""The clock of a workspace in a process of its own, with real runs and real kills."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from clocks import PATIENCE, ClockProcess, account, over, running, sweep

from pipelines.__main__ import main
from pipelines.lease import lease
from pipelines.schedule.records import Account, Schedules
from pipelines.settings import RunSettings

Start = Callable[..., ClockProcess]


@pytest.fixture
def refused(run_file: Path, settings: RunSettings) -> Path:
    """A run file whose runs are refused at once: its raw files are gone."""
    shutil.rmtree(settings.data.raw)
    settings.root.mkdir()
    return run_file


@pytest.fixture
def start(tmp_path: Path, settings: RunSettings) -> Iterator[Start]:
    clocks: list[ClockProcess] = []

    def started(*words: str | Path) -> ClockProcess:
        clocks.append(ClockProcess.started(tmp_path, *words))
        return clocks[-1]

    yield started
    sweep(clocks, settings.root)


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, object]:
    """What a command of another process than the clock's answers."""
    capsys.readouterr()
    assert main(["schedule", *map(str, words), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def strike(pid: int, how: signal.Signals) -> None:
    """Send a signal to a run, which has to be under way."""
    assert pid
    os.kill(pid, how)


@pytest.mark.slow
def test_a_second_clock_is_refused_by_name_and_a_dead_ones_place_is_taken_at_once(
    start: Start, refused: Path, settings: RunSettings
) -> None:
    first = start(refused, "--cron", "@yearly", "--timezone", "UTC")
    first.until_said("next at")

    second = start(refused, "--cron", "@daily", "--timezone", "UTC")
    second.process.communicate(timeout=PATIENCE)

    assert second.process.returncode == 2
    assert f"process {first.process.pid} on" in second.said
    assert "perceiver schedule add" in second.said
    assert Schedules.of(settings.root).get("").cron == "@yearly", "what was refused has changed nothing"

    first.kill()
    third = start("start", "--workspace", settings.root, "--json")
    third.until_said("next at")
    status, printed = third.stopped()

    assert (status, json.loads(printed)["ended_by"]) == (0, "SIGTERM")


@pytest.mark.slow
def test_other_processes_pause_resume_and_run_it_now_and_no_tick_runs_twice(
    start: Start, refused: Path, settings: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = start(refused, "--cron", "*/2 * * * * *", "--timezone", "Europe/Berlin")
    clock.until_said("refused after", times=2)

    assert told(capsys, "pause", "columns", "--workspace", settings.root)["paused"]
    clock.until_said("columns: paused")
    last = account(settings.root)
    told(capsys, "run-now", "--workspace", settings.root)
    clock.until(lambda: account(settings.root).why == "asked for" and over(settings.root))
    rested = account(settings.root)
    found = told(capsys, "list", "--workspace", settings.root)
    told(capsys, "resume", refused)
    clock.until(lambda: account(settings.root).tick > rested.tick and over(settings.root))
    clock.stopped()

    assert (last.result, last.status, last.attempt) == ("refused", 2, 1), (
        "what a person has to mend is not retried"
    )
    assert last.tick < rested.tick
    assert found["schedules"][0]["last"]["why"] == "asked for"  # type: ignore[index]
    assert found["clock"]["pid"] == clock.process.pid  # type: ignore[index]
    logs = sorted(path.name for path in (settings.root / "schedules/columns").glob("*.log"))
    assert len(logs) == clock.said.count("columns: runs ("), "each run has a tick of its own"
    assert all(name.endswith("-01.log") for name in logs)
    assert "there is no such folder" in (settings.root / "schedules/columns" / logs[0]).read_text()


@pytest.mark.slow
def test_a_run_that_dies_is_tried_again_and_given_up_after_the_fourth(
    start: Start, refused: Path, settings: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = start(refused, "--cron", "@yearly", "--retry-seconds", "0.1")
    clock.until_said("next at")
    told(capsys, "run-now", "--workspace", settings.root)

    for number in range(1, 5):
        clock.until(lambda number=number: running(settings.root) and account(settings.root).attempt == number)
        strike(running(settings.root), signal.SIGKILL)
        clock.until(lambda number=number: account(settings.root).failures == number)
    given_up = account(settings.root)
    clock.stopped()

    assert (given_up.attempt, given_up.failures, given_up.retry_at, given_up.status) == (4, 4, "", -9)
    assert clock.said.count("; tried again at") == 3


@pytest.mark.slow
def test_the_run_of_a_killed_clock_is_waited_for_and_not_doubled(
    start: Start, refused: Path, settings: RunSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start(refused, "--cron", "*/2 * * * * *")
    first.until(lambda: running(settings.root))
    left = account(settings.root)
    strike(left.pid, signal.SIGSTOP)
    first.kill()

    second = start("start", "--workspace", settings.root)
    second.until_said(f"still at work (process {left.pid})")
    time.sleep(2.5)  # a tick and more
    waiting = account(settings.root)
    os.kill(left.pid, signal.SIGCONT)
    second.until_said("columns: runs (")
    second.stopped()

    assert waiting == left
    assert "interrupted after" in second.said
    assert account(settings.root).tick > left.tick, "ticks that came meanwhile are run, as one"


@pytest.mark.slow
def test_a_run_that_its_dead_clock_has_not_left_here_is_waited_for_by_the_workflows_lease(
    start: Start, refused: Path, settings: RunSettings
) -> None:
    main(["schedule", "add", str(refused), "--cron", "@yearly"])
    left = Account(
        result="running", attempt=1, tick="2026-01-01T00:00:00+00:00", host="elsewhere", pid=1, born=1
    )
    schedules = Schedules.of(settings.root)
    schedules.keep("columns", replace(left, began=left.tick, covered=left.tick))

    with lease(settings.root / "lease", "the workflow"):
        clock = start("start", "--workspace", settings.root)
        clock.until_said(f"process {os.getpid()} on")
        waiting = account(settings.root).result
    clock.until_said("refused after")
    clock.stopped()

    assert waiting == "running"
    assert "again, as it was interrupted" in clock.said
    assert account(settings.root).attempt == 2
