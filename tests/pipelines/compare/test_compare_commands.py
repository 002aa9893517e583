"""`perceiver compare` finds runs by any of their names in a real store, and says what it cannot find."""

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, Metric, Param

from cluster.mistake import UserError
from pipelines.__main__ import main
from pipelines.compare.options import parse
from pipelines.tracking.mlflow_runs import Runs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store with runs `first` and `second` of one experiment, one more `second` of another, and a model."""
    folder = tmp_path_factory.mktemp("store")
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    one, other = (client.create_experiment(name, f"file://{folder}/files") for name in ("one", "other"))
    for experiment, name, rate in ((one, "first", 0.1), (one, "second", 0.2), (other, "second", 0.3)):
        run = client.create_run(experiment, run_name=name).info.run_id
        client.log_batch(
            run,
            metrics=[Metric("test/accuracy", rate, 0, 0), Metric("train/samples_seen", 24, 0, 0)],
            params=[Param("train.rate", str(rate)), Param("train.batch", "12")],
        )
        digest = json.dumps({"digest": f"{name}-digest"})
        client.log_inputs(run, [DatasetInput(Dataset(name, "short", "local", "{}", profile=digest), [])])
        for seconds in (2.0, 3.0):
            tags = {"mlflow.parentRunId": run, "stage": "train"}
            stage = client.create_run(experiment, tags=tags, run_name="train").info.run_id
            client.log_metric(stage, "seconds", seconds)
    first = client.search_runs([one], "attributes.run_name = 'first'")[0].info.run_id
    client.create_registered_model("things")
    client.create_model_version("things", "nowhere", first, tags={"code": "c0de"})
    client.set_registered_model_alias("things", "champion", "1")
    return f"sqlite:///{folder}/mlflow.db"


@pytest.fixture(scope="module")
def runs(uri: str) -> Runs:
    return Runs.connect(uri)


def ids(runs: Runs, name: str) -> list[str]:
    return [run.info.run_id for run in runs._called(name)]


@pytest.mark.parametrize("name", ["first", "things@champion", "things/1", "models:/things@champion"])
def test_a_run_is_found_by_its_name_and_by_its_model(runs: Runs, name: str) -> None:
    found = runs.find(name)

    assert found.name == "first"
    assert found.models == ("things/1",)
    assert (found.shards, found.code, found.seconds) == ("first-digest", "c0de", {"train": 5.0})


def test_a_run_is_found_by_the_first_digits_of_its_id_and_by_a_stage_of_it(runs: Runs) -> None:
    (run,) = ids(runs, "first")
    stage = runs._search(f"tags.mlflow.parentRunId = '{run}'")[0].info.run_id

    assert runs.find(run[:9]).run_id == run
    assert runs.find(f"runs:/{run}").run_id == run
    assert runs.find(stage).run_id == run


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("frist", "There is no run frist in sqlite.*Perhaps you meant first"),
        ("things@champio", "There is no things@champio in .*Perhaps you meant things@champion"),
        ("things/7", "There is no things/7 in .*Perhaps you meant things/1"),
        ("zzzzzzz", r"There is no run zzzzzzz in .*The newest are second \(\w{8}\), second .*, first "),
        ('a"b', 'There is no run a"b'),
    ],
)
def test_a_run_that_is_not_there_is_answered_with_the_nearest_names(
    runs: Runs, name: str, answer: str
) -> None:
    with pytest.raises(UserError, match=answer):
        runs.find(name)


def test_a_name_that_two_runs_have_is_answered_with_their_ids(runs: Runs) -> None:
    with pytest.raises(UserError, match=r"2 runs in .* are called second: ") as refused:
        runs.find("second")

    assert all(run in str(refused.value) for run in ids(runs, "second"))


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run was tracked there"):
        Runs.connect(f"sqlite:///{tmp_path}/mlflow.db")

    assert not list(tmp_path.iterdir())


def test_the_command_says_what_differs_and_answers_with_one_object(
    uri: str, runs: Runs, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    second = ids(runs, "second")[-1]

    status = main(["compare", "first", second[:12], "--tracking.uri", uri, "--json"])

    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert status == 0
    assert answer["settings"] == {"train.rate": ["0.1", "0.2"]}
    assert answer["metrics"]["test/accuracy"] == {"values": [0.1, 0.2], "best": []}
    assert [(one["name"], one["steps"], one["shards"]) for one in answer["runs"]] == [
        ("first", 2, "first-digest"), ("second", 2, "second-digest"),
    ]  # fmt: skip
    table, link = said.err.split("\nMLflow ")
    assert all(len(line) <= 60 for line in table.splitlines())
    assert "train.rate 0.1 0.2" in " ".join(table.split())
    assert "different shards" in " ".join(table.split())
    assert answer["link"] in link
    assert f"mlflow ui --backend-store-uri {uri}" in link


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["first"], "needs two runs or more"),
        ([], "needs two runs or more"),
        (["first", "things@champion"], "first and things@champion are one run"),
    ],
)
def test_a_comparison_of_one_run_is_refused(
    uri: str, words: list[str], answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, *(["--tracking.uri", uri] if words else [])]) == 2
    assert answer in capsys.readouterr().err


def test_a_store_that_nobody_names_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "first", "second"]) == 2
    assert "Where is the run first? Name the tracking store" in capsys.readouterr().err


def test_options_may_stand_before_or_behind() -> None:
    assert parse("compare", ["a", "b", "--tracking.uri", "http://x"]).tracking.uri == "http://x"
