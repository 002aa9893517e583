"""A run that is killed outright goes on with the same command, and ends as if nothing had happened."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from small_runs import Command, kill_tree

from pipelines.layout import Layout
from pipelines.settings import RunSettings, read
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import loop
from pipelines.training.outside import Outside
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def kill_once_saved(command: list[str], folder: Path) -> None:
    """Start the command, and SIGKILL it with all its children as soon as a checkpoint is there."""
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 180
        while not any(folder.glob("step-*/state.json")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until, "no checkpoint came"
            time.sleep(0.02)
    finally:
        kill_tree(process)
        assert process.stderr is not None
        process.stderr.close()


def test_a_training_killed_outright_ends_with_the_same_bytes_and_one_whole_curve(
    perceiver: Command, run_file: Path, settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    options = ["--train.steps", "200", "--train.save-every", "5"]
    layout = Layout.of(settings, shards.digest)
    command = [sys.executable, "-m", "pipelines", "train", str(run_file), *options]

    kill_once_saved(command, Path(layout.checkpoints))
    checkpoints = Checkpoints.at(layout.checkpoints)
    reached = int(checkpoints.sealed()[0].split("-")[1])
    again = perceiver("train", run_file, *options, "--json")

    assert 0 < reached < 200, "the kill came in between"
    assert "it was interrupted" in again.stderr
    undisturbed = read(str(run_file), [*options, "--workspace", str(tmp_path / "undisturbed")])
    undisturbed = replace(undisturbed, data=replace(undisturbed.data, shards=settings.shards))
    loop(undisturbed, shards.digest, Outside(publish=lambda point: None))
    expected, _ = Checkpoints.at(Layout.of(undisturbed, shards.digest).checkpoints).newest()
    found, _ = checkpoints.newest()
    assert expected is not None
    assert found is not None
    assert found.weights == expected.weights
    curve = mlflow.MlflowClient(settings.tracking_uri).get_metric_history(
        json.loads(again.stdout)["run_id"], "train/loss"
    )
    steps = [point.step for point in curve]
    assert steps == list(range(1, 201)), "each step once, none missing"
