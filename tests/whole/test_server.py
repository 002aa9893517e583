"""The same run against a real tracking server: curves, pictures and the model travel over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest
from small_runs import Command

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path / "server"
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--port", str(port)]
    command += [
        "--backend-store-uri",
        f"sqlite:///{folder}/mlflow.db",
        "--artifacts-destination",
        str(folder / "files"),
    ]
    process = subprocess.Popen(
        command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )  # fmt: skip
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, "the server ended"
                time.sleep(0.25)
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


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
