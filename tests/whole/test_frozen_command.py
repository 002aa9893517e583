"""A command that freezes is taken over; its ranks, which go on meanwhile, and it itself write no more."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from groups import elsewhere, learnt_curves, newest, train_group
from small_runs import kill_tree

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.training.pulse import accounts
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

DRIVER = Path(__file__).parent.parent / "training_driver.py"
PATIENCE = 240

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(tmp_path: Path, run_file: Path) -> Iterator[Start]:
    """Starts a command that trains, with a name and a pace; all that are left are killed."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(name: str, seconds: float, fault: dict[str, object]) -> "subprocess.Popen[bytes]":
        pace = tmp_path / f"{name}.pace"
        pace.write_text(str(seconds))
        command = [sys.executable, str(DRIVER), str(pace), json.dumps(fault), str(run_file)]
        paths = {"PYTHONPATH": os.pathsep.join([str(DRIVER.parent), str(DRIVER.parent.parent)])}
        with (tmp_path / f"{name}.log").open("wb") as log:
            started.append(subprocess.Popen(command, stderr=log, env={**os.environ, **paths}))
        return started[-1]

    yield begin
    for process in started:
        kill_tree(process)


def test_its_ranks_are_fenced_off_and_it_says_who_took_over_when_it_thaws(
    start: Start, settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    alone = elsewhere(settings, tmp_path / "alone")
    assert train_group(alone, shards, 1) == [0]
    layout = Layout.of(settings, shards.digest)

    older, pace = start("older", 1.0, {}), tmp_path / "older.pace"
    until = time.monotonic() + PATIENCE
    while not any(one.step >= 1 for one in accounts(layout.attempts)):
        assert older.poll() is None, (tmp_path / "older.log").read_text()
        assert time.monotonic() < until, "it does not train"
        time.sleep(0.05)
    older.send_signal(signal.SIGSTOP)
    pace.write_text("20")  # So that its ranks, which go on, are not at the end before the newer one begins.
    newer = start("newer", 0.0, {"stale_seconds": 3.0})

    assert newer.wait(PATIENCE) == 0, (tmp_path / "newer.log").read_text()
    pace.write_text("0")
    older.send_signal(signal.SIGCONT)
    said = (tmp_path / "older.log").read_text
    assert older.wait(PATIENCE) == 1, said()
    assert "has taken over: this process (lease 1 of" in said()
    assert f"(process {newer.pid} on" in said()
    assert [one.attempt for one in accounts(layout.attempts)] == [1, 2]
    assert newest(settings, shards).attempt == 2
    assert newest(settings, shards).weights == newest(alone, shards).weights
    assert learnt_curves(settings, shards) == learnt_curves(alone, shards)
