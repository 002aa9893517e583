"""A real tracking server that dies, hangs or is not there: the stages go on, and it is told all later."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow.entities import Run
from mlflow_server import MlflowServer
from small_runs import Command

from pipelines.artifacts import Trained
from pipelines.layout import Layout
from pipelines.settings import RunSettings, TrackingSettings
from pipelines.tracking import points
from pipelines.tracking.journal import Untold
from pipelines.tracking.tracker import Tracker, tell_rest
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """Not started yet."""
    server = MlflowServer(tmp_path / "server")
    yield server
    server.kill()


@pytest.fixture
def there(settings: RunSettings, server: MlflowServer) -> RunSettings:
    settings.root.mkdir()
    return replace(settings, tracking=TrackingSettings(uri=server.uri))


def publish(layout: Layout, *steps: int) -> None:
    for step in steps:
        points.append(layout.points, {"step": step, "time": time.time(), "train/loss": 1 / step})


def until_told(layout: Layout) -> None:
    until = time.monotonic() + 240
    while Untold.of(layout):
        assert time.monotonic() < until, f"not told: {Untold.of(layout)}"
        time.sleep(0.05)


def runs(uri: str) -> tuple[list[Run], list[Run]]:
    """The trainings' runs, and the stages' in the order in which they began."""
    client = mlflow.MlflowClient(uri)
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    found = client.search_runs(experiments, order_by=["attributes.start_time ASC"])
    return (
        [run for run in found if "mlflow.parentRunId" not in run.data.tags],
        [run for run in found if "mlflow.parentRunId" in run.data.tags],
    )


def curve(uri: str, run: Run) -> list[int]:
    history = mlflow.MlflowClient(uri).get_metric_history(run.info.run_id, "train/loss")
    return sorted(row.step for row in history)


def test_a_server_that_is_killed_and_one_that_hangs_cost_no_point_and_make_no_second_run(
    there: RunSettings, server: MlflowServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.start()
    layout = Layout.of(there, "0123456789abcdef")
    tracker = Tracker.open(there, layout)

    with tracker.stage("train"):
        publish(layout, 1, 2)
        until_told(layout)
        server.kill()
        publish(layout, 3, 4)
        time.sleep(1)  # the teller tries meanwhile
        server.start()
        publish(layout, 5)
        until_told(layout)
        server.send(signal.SIGSTOP)
        publish(layout, 4, 5, 6)
        began = time.monotonic()
    waited = time.monotonic() - began
    tracker.result({"test/loss": 0.5}, 6)
    server.send(signal.SIGCONT)
    with Tracker.open(there, layout).stage("evaluate"):
        until_told(layout)

    (run,), stages = runs(server.uri)
    assert waited < 20, "the end of a stage does not wait for an answer that never comes"
    assert curve(server.uri, run) == [1, 2, 3, 4, 5, 6]
    assert run.data.metrics["test/loss"] == 0.5
    assert [(stage.info.run_name, stage.info.status) for stage in stages] == [
        ("train", "FINISHED"), ("evaluate", "FINISHED"),
    ]  # fmt: skip
    said = capsys.readouterr().err
    assert said.count("is back and was told what had waited") <= 3, "not at each try"
    assert "did not reach" in said
    assert "perceiver tell" in said


DRIVER = """
import sys, time
from pathlib import Path
from pipelines.tracking import points
from pipelines.layout import Layout
from pipelines.settings import read
from pipelines.tracking.tracker import Tracker

settings = read(sys.argv[1], sys.argv[2:])
layout = Layout.of(settings, "0123456789abcdef")
with Tracker.open(settings, layout).stage("train"):
    for step in range(1, 10**6):
        points.append(layout.points, {"step": step, "time": time.time(), "train/loss": 1 / step})
        time.sleep(0.01)
"""


def test_a_driver_killed_at_any_moment_leaves_one_run_and_each_point_once(
    there: RunSettings, server: MlflowServer, run_file: Path
) -> None:
    server.start()
    layout = Layout.of(there, "0123456789abcdef")
    for seconds in (0.0, 0.1, 0.4):
        command = [sys.executable, "-c", DRIVER, str(run_file), "--tracking.uri", server.uri]
        driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        until = time.monotonic() + 240
        before = layout.told.stat().st_size if layout.told.exists() else 0
        while not layout.journal.exists() or (
            seconds and (not layout.told.exists() or layout.told.stat().st_size == before)
        ):
            assert time.monotonic() < until, "nothing was told"
            time.sleep(0.01)
        time.sleep(seconds)
        driver.kill()
        driver.wait()

    with Tracker.open(there, layout).stage("train"):
        until_told(layout)

    (run,), stages = runs(server.uri)
    assert curve(server.uri, run) == sorted({int(point["step"]) for point in points_of(layout)})
    assert [stage.info.status for stage in stages] == ["KILLED"] * (len(stages) - 1) + ["FINISHED"]
    assert len(stages) >= 3


def points_of(layout: Layout) -> list[points.Point]:
    from pipelines.tracking import lines

    return lines.read(layout.points)[0]


@pytest.mark.ray
def test_a_server_that_is_away_for_the_whole_run_is_told_everything_when_it_comes(
    perceiver: Command, run_file: Path, settings: RunSettings, shards: Shards, server: MlflowServer
) -> None:
    options = ["--tracking.uri", server.uri]
    refused = perceiver("run", run_file, *options, check=False)
    assert refused.returncode == 1
    assert "--tracking.absent spool" in refused.stderr

    alone = perceiver("run", run_file, *options, "--tracking.absent", "spool", "--json", check=False)

    layout = Layout.of(settings, shards.digest)
    assert alone.returncode == 1, alone.stderr
    assert "The model is trained and evaluated, but registering it needs the server" in alone.stderr
    assert "Traceback" not in alone.stderr
    assert trained(layout).run_id == ""

    server.start()
    done = perceiver("run", run_file, *options, "--json")

    (run,), stages = runs(server.uri)
    answer = json.loads(done.stdout)
    assert answer["run_id"] == run.info.run_id == trained(layout).run_id
    assert curve(server.uri, run) == list(range(1, 13))
    assert run.data.metrics["test/accuracy"] == answer["metrics"]["test/accuracy"]
    assert [stage.info.run_name for stage in stages] == ["train", "evaluate", "register", "promote"]
    files = {file.path for file in mlflow.MlflowClient(server.uri).list_artifacts(run.info.run_id)}
    assert {"run.toml", "contact-sheet.png", "learning-curve.png", "attention-sheet.png"} <= files


def trained(layout: Layout) -> Trained:
    found = Trained.open(layout.trained)
    assert found
    return found


def test_what_is_left_is_told_by_its_own_command(
    perceiver: Command, there: RunSettings, server: MlflowServer, run_file: Path
) -> None:
    layout = Layout.of(there, "0123456789abcdef")
    with Tracker.open(there, layout).stage("train"):
        publish(layout, 1, 2)
    away = perceiver("tell", run_file, "--tracking.uri", server.uri, check=False)

    server.start()
    told = perceiver("tell", run_file, "--tracking.uri", server.uri, "--json")

    (run,), _ = runs(server.uri)
    assert away.returncode == 1
    assert "No tracking server answers" in away.stderr
    assert json.loads(told.stdout) == {"tracking_uri": server.uri, "points": 0, "events": 0}
    assert curve(server.uri, run) == [1, 2]
    assert not tell_rest(there)
