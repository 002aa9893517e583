"""The whole job on a small set: one `perceiver run`, and everything that it leaves behind."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_runs import MODEL, Command, draw_pictures

from pipelines.artifacts import Report, Trained
from pipelines.layout import Layout
from pipelines.models.classifier import DESCRIPTION, WEIGHTS, Classifier
from pipelines.settings import RunSettings, read
from preprocessing.reading import Reader
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

RUN = """# A small run
name = "columns"
workspace = "{work}"
[data]
raw = "{raw}"
shard_size = 16
val = 0.2
test = 0.2
{model}[train]
steps = 60
batch = 12
rate = 3e-3
ema = 0.9
[cluster]
workers = 2
cpus_per_worker = 1
"""


class Finished:
    """A run that has ended, and what it printed."""

    def __init__(self, run_file: Path, done: "subprocess.CompletedProcess[str]") -> None:
        self.run_file, self.stdout, self.stderr = run_file, done.stdout, done.stderr
        self.settings: RunSettings = read(str(run_file), [])
        self.shards = Shards.open(self.settings.shards)
        self.layout = Layout.of(self.settings, self.shards.digest)
        self.client = mlflow.MlflowClient(self.settings.tracking_uri)

    @property
    def answer(self) -> dict[str, Any]:
        return json.loads(self.stdout)

    @property
    def trained(self) -> Trained:
        trained = Trained.open(self.layout.trained)
        assert trained is not None
        return trained


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """`perceiver run --json` on 90 pictures, one of them broken, with two workers."""
    folder = tmp_path_factory.mktemp("whole")
    raw = draw_pictures(folder / "raw", per_class=30)
    (raw / "column-0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    run_file = folder / "run.toml"
    run_file.write_text(RUN.format(work=folder / "work", raw=raw, model=MODEL))
    command = [sys.executable, "-m", "pipelines", "run", str(run_file), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Finished(run_file, done)


def test_stdout_is_one_json_object_with_the_promised_keys(finished: Finished) -> None:
    assert finished.stdout.count("\n") == 1
    assert set(finished.answer) == {
        "model", "version", "alias", "metrics", "run_id", "tracking_uri", "promoted", "champion", "reason",
        "ran",
    }  # fmt: skip
    assert finished.answer["model"] == "columns"
    assert finished.answer["version"] == 1


def test_it_learnt(finished: Finished) -> None:
    assert finished.answer["metrics"]["test/accuracy"] > 0.9


def test_the_last_words_name_accuracy_model_pictures_and_the_way_to_the_ui(finished: Finished) -> None:
    said = finished.stderr

    assert "test accuracy" in said
    assert "train: cross-attention is separable (image, 64 positions)" in said
    assert "columns version 1 (alias candidate)" in said
    assert f"perceiver ui {finished.run_file}" in said
    assert f"/runs/{finished.answer['run_id']}" in said
    for name in ("learning-curve.png", "confusion-matrix.png", "attention-sheet.png"):
        path = finished.layout.folder / name
        assert str(path) in said
        with Image.open(path) as picture:
            picture.verify()


def test_no_noise_of_the_libraries_reaches_the_person(finished: Finished) -> None:
    for noise in ("WARNING", "INFO", "Warning", "alembic", "Traceback", "pid="):
        assert noise not in finished.stderr


def test_every_file_is_in_a_sample_or_in_quarantine(finished: Finished) -> None:
    quarantine = pq.read_table(Path(finished.settings.shards) / "quarantine.parquet").to_pylist()

    assert [row["source"] for row in quarantine] == ["column-0/broken.png"]
    assert finished.shards.found == 91
    assert sum(finished.shards.counts.values()) == 90


def test_the_run_in_mlflow_holds_settings_curves_pictures_and_the_data(finished: Finished) -> None:
    run = finished.client.get_run(finished.answer["run_id"])

    assert run.info.status == "FINISHED"
    assert run.data.params["train.batch"] == "12"
    assert run.data.params["seed"] == "0"
    assert {"train/loss", "val/loss", "val/accuracy", "test/accuracy"} <= set(run.data.metrics)
    losses = [point.step for point in finished.client.get_metric_history(run.info.run_id, "train/loss")]
    assert losses == sorted(set(losses))
    assert losses[-1] == 60
    files = {file.path for file in finished.client.list_artifacts(run.info.run_id)}
    pictures = ("learning-curve.png", "confusion-matrix.png", "attention-sheet.png", "contact-sheet.png")
    assert {"run.toml", "report.html", *pictures} <= files
    (data,) = run.inputs.dataset_inputs
    assert finished.shards.digest.startswith(data.dataset.digest)
    assert json.loads(data.dataset.profile)["train"] == finished.shards.counts["train"]


def test_the_stages_are_nested_runs_with_their_seconds(finished: Finished) -> None:
    parent = finished.answer["run_id"]
    experiment = finished.client.get_run(parent).info.experiment_id
    nested = finished.client.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{parent}'", order_by=["attributes.start_time ASC"]
    )

    assert [run.info.run_name for run in nested] == ["shard", "train", "evaluate", "register", "promote"]
    assert all(run.data.metrics["seconds"] > 0 for run in nested)
    assert {run.info.status for run in nested} == {"FINISHED"}


def test_the_registered_model_loads_without_pickle_and_without_the_repository_and_gives_the_same(
    finished: Finished, tmp_path: Path
) -> None:
    samples = Reader(finished.shards, "test").read(range(5))
    np.save(tmp_path / "images.npy", np.stack([sample["image"] for sample in samples]))
    script = """
import sys, numpy as np, mlflow
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/columns@candidate")
answers = model.predict({"image": np.load("images.npy")}, params={"all": True})
print(sys.modules["perceiver"].__file__)
np.save("answers.npy", np.array([list(one.values()) for one in answers["probabilities"]]))
np.save("classes.npy", np.array(answers["class"].tolist()))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, finished.settings.tracking_uri],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr

    folder = Path(finished.layout.checkpoints, finished.trained.checkpoint)
    classifier = Classifier.load(folder / DESCRIPTION, folder / WEIGHTS)
    expected = classifier.probabilities(samples)
    assert np.load(tmp_path / "answers.npy") == pytest.approx(expected, abs=1e-6)
    assert np.load(tmp_path / "classes.npy").tolist() == [classifier.classes[k] for k in expected.argmax(1)]
    assert "code" in done.stdout, "the model brings its own code"


def test_the_model_version_tells_its_origin(finished: Finished) -> None:
    version = finished.client.get_model_version_by_alias("columns", "candidate")

    assert version.run_id == finished.answer["run_id"]
    assert version.tags["shards"] == finished.shards.digest
    assert version.tags["weights"] == finished.trained.weights


def test_too_few_test_samples_make_no_champion_and_say_so(finished: Finished) -> None:
    version = finished.client.get_model_version_by_alias("columns", "candidate")

    assert (finished.answer["promoted"], finished.answer["champion"]) == (False, False)
    few = f"{finished.shards.counts['test']} test samples are fewer than gate.samples (100)"
    assert finished.answer["reason"].startswith(few)
    assert version.tags["gate.reason"] == finished.answer["reason"]
    assert "champion" not in finished.client.get_registered_model("columns").aliases
    assert f"promote: columns version 1 is not made champion: {few}" in finished.stderr


def test_the_report_counts_every_test_sample_once(finished: Finished) -> None:
    report = Report.open(finished.layout.report)

    assert report is not None
    assert report.samples == finished.shards.counts["test"]
    assert sum(one["samples"] for one in report.classes.values()) == report.samples


def test_a_second_run_does_nothing_and_says_so(finished: Finished, perceiver: Command) -> None:
    again = perceiver("run", finished.run_file, "--json")

    assert json.loads(again.stdout) == {**finished.answer, "ran": []}
    for stage in ("shard", "train", "evaluate", "register", "promote"):
        assert f"{stage}: up to date" in again.stderr


def test_each_stage_alone_answers_with_its_keys(finished: Finished, perceiver: Command) -> None:
    keys = {
        "shard": {"shards", "digest", "samples", "quarantined", "skipped"},
        "train": {"checkpoint", "run_id", "step", "samples_seen"},
        "evaluate": {"metrics", "samples"},
        "register": {"model", "version", "alias", "metrics", "run_id", "tracking_uri"},
    }

    answers = {name: json.loads(perceiver(name, finished.run_file, "--json").stdout) for name in keys}

    assert {name: set(answer) for name, answer in answers.items()} == keys
    assert answers["shard"] == {
        "shards": finished.settings.shards,
        "digest": finished.shards.digest,
        "samples": {"train": 54, "val": 18, "test": 18} | finished.shards.counts,
        "quarantined": 1,
        "skipped": True,
    }
    assert (answers["train"]["step"], answers["train"]["samples_seen"]) == (60, 720)


def test_show_tells_what_is_done_and_what_more_steps_would_do(finished: Finished, perceiver: Command) -> None:
    done = perceiver("show", finished.run_file)
    more = perceiver("show", finished.run_file, "--train.steps", "80", "--json")

    assert done.stdout.count("up to date") == 5
    assert "train.batch = 12" in done.stdout
    assert json.loads(more.stdout)["stages"]["train"] == "step 60 of 80 is reached"


def test_a_second_run_with_other_settings_names_each_difference(
    finished: Finished, perceiver: Command
) -> None:
    of_the_data = perceiver("run", finished.run_file, "--data.image.size", "16", check=False)
    of_the_training = perceiver("run", finished.run_file, "--train.rate", "0.5", check=False)

    assert (of_the_data.returncode, of_the_training.returncode) == (2, 2)
    assert "data.image.size: 8 there, 16 asked" in of_the_data.stderr
    assert "data.shards" in of_the_data.stderr
    assert "train.rate: began with 0.003, now 0.5" in of_the_training.stderr
    assert "--workspace" in of_the_training.stderr
