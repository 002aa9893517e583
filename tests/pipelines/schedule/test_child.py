"""A run as a process of its own: what it is told, when it begins, and what it came to."""

import os
import select
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from socket import gethostname

import pytest
from clocks import PATIENCE, ROOT

from pipelines.lease import HeldError, lease
from pipelines.schedule.child import Child, began_training, found_held
from pipelines.schedule.clock import command
from pipelines.schedule.records import KEPT, Schedule, Schedules


@pytest.mark.slow
def test_a_run_whose_clock_dies_before_it_is_recorded_never_begins(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from pipelines.schedule.child import Child\n"
        "folder = Path(sys.argv[1])\n"
        "child = Child.at_gate(['touch', str(folder / 'begun')], folder, folder / 'run.log')\n"
        "print(child.pid, flush=True)\n"
        "sys.argv[2] == 'goes' and child.go()\n"
        "os._exit(0)"
    )

    for ends, begun in (("dies", False), ("goes", True)):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), ends],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        wait_for_end(int(done.stdout))
        assert (tmp_path / "begun").exists() == begun


def wait_for_end(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    assert poll.poll(PATIENCE * 1000)
    os.close(handle)


def schedule(**changes: object) -> Schedule:
    usual = Schedule(
        name="columns", run_file="run.toml", folder="/", options=("--train.steps", "3"), cron="@daily",
        timezone="UTC", since="2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return replace(usual, **changes)  # type: ignore[arg-type]


def test_a_run_is_the_users_command_with_what_the_schedule_adds() -> None:
    def words(force: bool = False, **changes: object) -> str:
        return " ".join(command(schedule(**changes), force)[1:])

    assert words() == "-m pipelines run run.toml --train.steps 3 --renew --json"
    assert words(force=True, warm_start="champion") == (
        "-m pipelines run run.toml --train.steps 3 --train.warm-start champion --force train --renew --json"
    )
    assert words(sends=True) == "-m pipelines submit run.toml --train.steps 3 --renew --follow --json"
    assert words(force=True, sends=True, always=True) == (
        "-m pipelines submit run.toml --train.steps 3 --force train --renew --follow --again --json"
    )


@pytest.mark.slow
def test_a_run_that_found_another_at_work_is_known_by_the_words_of_the_lease(tmp_path: Path) -> None:
    with (
        lease(tmp_path / "lease", "the workflow in work/a"),
        pytest.raises(HeldError) as refusal,
        lease(tmp_path / "lease", "the workflow in work/a"),
    ):
        pass
    log = tmp_path / "run.log"

    log.write_text(f"shard: up to date\nerror: {refusal.value}\n")
    assert found_held(log)
    log.write_text("error: There is no run file run.toml.\n")
    assert not found_held(log)


def test_a_run_that_got_as_far_as_training_is_known_by_its_words(tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    assert not began_training(log)
    log.write_text("shard: up to date\ntrain: up to date, step 12\n")
    assert not began_training(log)
    log.write_text("shard: up to date\ntrain: it was interrupted\n")
    assert began_training(log)


def test_the_words_of_the_newest_runs_are_kept(tmp_path: Path) -> None:
    schedules = Schedules.of(tmp_path)
    home = schedules.home("columns")
    for number in range(KEPT + 5):
        (home / f"2026-01-{number:02d}.log").touch()
        (home / f"2026-01-{number:02d}.json").touch()

    schedules.sweep("columns")

    kept = {path.name for path in home.iterdir()}
    assert kept == {f"2026-01-{number:02d}.{end}" for number in range(5, KEPT + 5) for end in ("log", "json")}


def test_a_process_that_has_its_pid_from_another_is_not_adopted() -> None:
    assert Child.adopted(gethostname(), os.getpid(), since=1) is None
    assert Child.adopted("elsewhere", os.getpid(), since=1) is None
