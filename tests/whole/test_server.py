"""The same run against a real tracking server: curves, pictures and the model travel over HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from mlflow_server import MlflowServer
from small_runs import Command

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:.*Any type hint:UserWarning"
    ),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    server = MlflowServer(tmp_path / "server")
    server.start()
    yield server.uri
    server.kill()


def test_a_run_on_a_server_leaves_everything_there(
    server: str, perceiver: Command, run_file: Path, tmp_path: Path
) -> None:
    done = perceiver("run", run_file, "--tracking.uri", server, "--json")

    answer = json.loads(done.stdout)
    client = mlflow.MlflowClient(server)
    run = client.get_run(answer["run_id"])
    assert answer["tracking_uri"] == server
    assert f"{server}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}" in done.stderr
    assert run.data.metrics["test/accuracy"] == answer["metrics"]["test/accuracy"]
    assert {"learning-curve.png", "confusion-matrix.png", "attention-sheet.png"} <= {
        file.path for file in client.list_artifacts(run.info.run_id)
    }
    assert not (tmp_path / "work" / "mlflow.db").exists()
    mlflow.set_tracking_uri(server)
    model = mlflow.pyfunc.load_model("models:/columns@candidate")
    assert len(model.predict(model.input_example)) == 1
