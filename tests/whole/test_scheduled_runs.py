"""A scheduled training: killed clocks, a stop amid it, and a tick without anything new."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from clocks import ClockProcess, account, over, running, sweep

from pipelines.__main__ import main
from pipelines.layout import Layout
from pipelines.processes import born
from pipelines.settings import RunSettings
from pipelines.training.checkpoints import Checkpoints
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
OPTIONS = ("--train.save-every", "10", "--train.evaluate-every", "10000")
LONG = ("--train.steps", "10000")
"""More steps than are taken in the time that a clock needs to start."""


@pytest.fixture
def clocks(settings: RunSettings) -> Iterator[list[ClockProcess]]:
    started: list[ClockProcess] = []
    yield started
    sweep(started, settings.root)


def test_a_training_goes_on_over_a_killed_clock_and_a_stop_and_ends_in_one_model(
    clocks: list[ClockProcess], run_file: Path, settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    schedules = settings.root / "schedules" / "columns"
    checkpoints = Path(Layout.of(settings, shards.digest).checkpoints)

    def clock(*words: str | Path) -> ClockProcess:
        clocks.append(ClockProcess.started(tmp_path, *words))
        return clocks[-1]

    def said_by(log: str) -> str:
        return (schedules / log).read_text()

    # Amid the training its clock is killed outright: the training goes on, and the next clock finds it.
    first = clock(run_file, "--cron", "@yearly", "--timezone", "Europe/Berlin", *OPTIONS, *LONG)
    first.until_said("next at")
    main(["schedule", "run-now", str(run_file)])
    first.until(lambda: any(checkpoints.glob("step-*/state.json")), "a checkpoint")
    left = account(settings.root)
    first.kill()
    second = clock("start", "--workspace", settings.root)
    second.until_said(f"still at work (process {left.pid})")
    assert running(settings.root) == left.pid

    # A clock that is told to stop has its run take a checkpoint, and waits for it.
    assert second.stopped()[0] == 0
    assert account(settings.root).result == "interrupted"
    assert f"process {left.pid}" in second.said
    assert "SIGINT: a checkpoint is taken" in said_by(left.log)

    # The next one goes on with it at once, though with other words, and ends it.
    saved = Checkpoints.at(str(checkpoints)).sealed()[0]
    steps = ("--train.steps", str(int(saved.split("-")[1]) + 5))
    main(["schedule", "add", str(run_file), "--cron", "@yearly", "--timezone", "UTC", *OPTIONS, *steps])
    third = clock("start", "--workspace", settings.root)
    third.until(lambda: account(settings.root).result == "done", "the end")
    done = account(settings.root)
    assert (done.tick, done.attempt) == (left.tick, 2)
    assert done.what.startswith("columns version 1, not champion: ")
    assert "are fewer than gate.samples" in done.what
    assert "train: it was interrupted" in said_by(done.log)

    # Nothing is new: nothing is done.
    main(["schedule", "run-now", str(run_file)])
    third.until(lambda: account(settings.root).tick > done.tick and over(settings.root), "the second tick")
    again = account(settings.root)
    assert (again.result, again.what) == ("done", "nothing was new: columns version 1 stays")
    assert said_by(again.log).count("up to date") == 5
    answer = json.loads((schedules / again.log).with_suffix(".json").read_text())
    assert (answer["version"], answer["ran"]) == (1, [])
    third.until_said("nothing was new: columns version 1 stays")
    third.process.send_signal(signal.SIGINT)
    third.process.communicate()
    assert third.process.returncode == 0
    registry = mlflow.MlflowClient(settings.tracking_uri)
    assert [int(one.version) for one in registry.search_model_versions("name='columns'")] == [1]
    assert born(left.pid) is None
