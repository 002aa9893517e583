"""What a person asks of `perceiver run` and `show`: a part of the stages, again, beside another command."""

import json
import os
from pathlib import Path
from typing import Any

import mlflow
import pytest
from small_runs import Command

from pipelines.artifacts import Trained
from pipelines.lease import lease
from pipelines.made import Made
from pipelines.settings import RunSettings, read
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


def files(folder: Path) -> dict[Path, bytes]:
    """All that is there but who holds the lease."""
    there = (path for path in folder.rglob("*") if path.is_file() and "lease" not in path.parts)
    return {path: path.read_bytes() for path in there}


def nested(settings: RunSettings, run_id: str) -> list[Any]:
    client = mlflow.MlflowClient(settings.tracking_uri)
    experiment = client.get_run(run_id).info.experiment_id
    found = client.search_runs([experiment], f"tags.mlflow.parentRunId = '{run_id}'")
    return sorted(found, key=lambda run: run.info.start_time)


def test_a_part_of_the_stages_and_a_training_begun_anew_beside_the_one_before(
    perceiver: Command, run_file: Path, shards: Shards
) -> None:
    settings = read(str(run_file), [])
    again = ["--force", "train", "--until", "train", "--train.warm-start", "candidate", "--json"]

    early = perceiver("run", run_file, "--from", "evaluate", check=False)
    part = perceiver("run", run_file, "--until", "train", "--json")
    first = Made(settings)
    kept, trained = files(first.layout.folder), first.trained
    anew = perceiver("run", run_file, *again)
    shown = perceiver("show", run_file, "--json")

    assert early.returncode == 2
    assert "--from evaluate: train is not up to date (nothing is trained on these shards yet" in early.stderr
    assert json.loads(part.stdout)["step"] == 12
    assert "evaluate:" not in part.stderr
    (history,) = nested(settings, json.loads(part.stdout)["run_id"])
    assert history.data.tags["reason"].startswith("nothing is trained on these shards yet (12 steps)")
    assert [history.data.tags[name] for name in ("attempt", "lease", "up_to_date")] == ["1", "1", "shard"]
    assert kept == files(settings.root / "trainings" / shards.digest[:12])
    assert f"stays in {settings.root}/trainings/{shards.digest[:12]}" in anew.stderr
    assert "there is no columns candidate yet; it begins afresh" in anew.stderr
    second = Trained.open(Made(settings).layout.trained)
    assert trained is not None
    assert second is not None
    assert (second.weights, second.step) == (trained.weights, trained.step), "the same, from its beginning"
    assert json.loads(anew.stdout)["run_id"] == second.run_id != trained.run_id
    client = mlflow.MlflowClient(settings.tracking_uri)
    tags = client.get_run(second.run_id).data.tags
    assert tags["warm_start"] == "none"
    assert "\n| train | 1 | 1 | 0 |" in tags["mlflow.note.content"]
    assert json.loads(shown.stdout)["stages"] == {
        "shard": "", "train": "", "evaluate": "these weights are not evaluated yet",
        "register": "the evaluation comes first", "promote": "the evaluation comes first",
    }  # fmt: skip

    other = ["--seed", "7", "--until", "train"]
    refused = perceiver("run", run_file, *other, check=False)
    renewed = perceiver("run", run_file, *other, "--renew", "--json")
    third = Trained.open(Made(settings).layout.trained)

    assert refused.returncode == 2
    assert "seed: began with 0, now 7" in refused.stderr
    assert "train: seed is 7 now, it was 0; the training before it stays in" in renewed.stderr
    assert third is not None
    assert (third.settings["seed"], third.step) == ("7", trained.step)
    assert third.weights != trained.weights
    assert client.get_run(third.run_id).data.params["seed"] == "7"


def test_beside_another_command_only_what_reads_goes_on(
    perceiver: Command, run_file: Path, shards: Shards
) -> None:
    settings = read(str(run_file), [])

    with lease(settings.root / "lease", "the workflow"):
        before = files(settings.root)
        refused = [perceiver(name, run_file, check=False) for name in ("run", "shard", "train")]
        shown = perceiver("show", run_file, "--json")
        told = perceiver("tell", run_file)

        assert files(settings.root) == before

    assert [done.returncode for done in refused] == [2, 2, 2]
    for done in refused:
        assert f"The workflow in {settings.workspace} is at work already: `" in done.stderr
        assert f"(process {os.getpid()} on" in done.stderr
    assert f"(process {os.getpid()} on" in json.loads(shown.stdout)["at_work"]
    assert "at work" in shown.stderr
    assert told.returncode == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--form", "train"], "--from STAGE"),
        (["--from", "trian"], "Perhaps you meant train"),
        (["--train.warm-start", "models:/x"], "train.warm_start is 'models:/x': give an alias"),
    ],
)
def test_what_is_misspelt_gets_the_nearest(
    perceiver: Command, run_file: Path, options: list[str], said: str
) -> None:
    done = perceiver("run", run_file, *options, check=False)

    assert done.returncode == 2
    assert said in done.stderr
    assert not Path(read(str(run_file), []).workspace).exists()
