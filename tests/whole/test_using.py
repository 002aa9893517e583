"""A registered model gives the same through `predict`, through a server and in evaluation, whatever it eats.

Probabilities are compared to 1e-6: evaluation, server and `predict` put other samples beside each other in a
batch, and float32 sums in another order differ by a few units of their last place (6e-8).
"""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from ports import free_port
from registered_models import apart, untrained
from small_runs import Command, kill_tree

from pipelines.__main__ import main
from pipelines.artifacts import Report, Trained
from pipelines.layout import Layout
from pipelines.models.classifier import DESCRIPTION, WEIGHTS
from pipelines.models.predicting import Asked, answer
from pipelines.settings import RunSettings
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

BOUND = 1e-6
OUTSIDE = ("ray", "tyro", "rich", "boto3", "soundfile", "soxr", "av")
"""Libraries of ours that a model of pictures does not name as its requirements."""


class Server:
    """`mlflow models serve`, where none of our code is installed, nor what the model does not ask for."""

    def __init__(self, model: str, uri: str, folder: Path) -> None:
        self.port = free_port()
        (folder / "absent").mkdir()
        (folder / "absent" / "sitecustomize.py").write_text(
            f"import sys\nsys.modules.update(dict.fromkeys({OUTSIDE}))\n"
        )
        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(folder / "absent"),
            "MLFLOW_TRACKING_URI": uri,
        }
        words = ["-m", model, "--env-manager", "local", "--port", str(self.port), "--host", "127.0.0.1"]
        self.log = folder / "serve.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "models", "serve", *words],
                cwd=folder, env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows of its answer."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/invocations",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.loads(response.read(), parse_constant=pytest.fail)["predictions"]

    def wait(self) -> None:
        """Until it answers."""
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ping", timeout=1).close()
                return
            except OSError:
                assert self.process.poll() is None, self.log.read_text()[-3000:]
                time.sleep(0.2)
        raise AssertionError("the server does not answer")


def evaluated(settings: RunSettings) -> tuple[Reader, np.ndarray, Report]:
    """The test samples, the probabilities that evaluation's own task gives them, and its report."""
    shards = Shards.open(settings.shards)
    layout = Layout.of(settings, shards.digest)
    trained, report = Trained.open(layout.trained), Report.open(layout.report)
    assert trained
    assert report
    folder = Path(layout.checkpoints, trained.checkpoint)
    reader = Reader(shards, "test")
    asked = Asked(
        shards.place, shards.digest, "test", Cache.of(settings.data), str(folder / DESCRIPTION),
        str(folder / WEIGHTS), "cpu",
    )  # fmt: skip
    return reader, answer({"id": np.arange(len(reader))}, asked)["probabilities"], report


def table(path: Path) -> dict[str, dict[str, Any]]:
    """The rows of a table of answers by their source, of which none is there twice."""
    rows = pq.read_table(path).to_pylist()
    assert len({row["source"] for row in rows}) == len(rows)
    return {row["source"]: row for row in rows}


def agree(rows: list[dict[str, Any]], expected: np.ndarray, classes: tuple[str, ...]) -> None:
    found = np.array([[row["probabilities"][name] for name in classes] for row in rows])
    assert found == pytest.approx(expected, abs=BOUND)
    assert [row["class"] for row in rows] == [classes[place] for place in expected.argmax(1)]
    assert [row["probability"] for row in rows] == pytest.approx(expected.max(1), abs=BOUND)
    assert {row["refused"] for row in rows} == {None}


@pytest.fixture
def trained(perceiver: Command, run_file: Path, pictures: Path) -> dict[str, Any]:
    """A real run, a malformed file among its raw files; what it answered."""
    (pictures / "column-0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    return json.loads(perceiver("run", run_file, "--json").stdout)


@pytest.fixture
def server(trained: dict[str, Any], tmp_path: Path) -> Iterator[Server]:
    server = Server("models:/columns@candidate", trained["tracking_uri"], tmp_path)
    yield server
    kill_tree(server.process)


@pytest.mark.ray
@pytest.mark.long
def test_predict_serve_and_evaluate_agree_on_every_test_sample(
    perceiver: Command, trained: dict[str, Any], server: Server, settings: RunSettings, tmp_path: Path,
    pictures: Path,
) -> None:  # fmt: skip
    reader, expected, report = evaluated(settings)
    classes = reader.shards.classes
    common = ["--all", "--json", "--tracking.uri", trained["tracking_uri"]]

    looks = ["--explain", tmp_path / "looks", "--explained", "1", "--batch", "10"]
    alone = pictures / reader.sources[0]
    files, shards, one = (
        perceiver("predict", model, place, "--output", tmp_path / name, *common, *more)
        for model, place, name, more in (
            ("columns@candidate", pictures, "files.parquet", looks),
            ("columns/1", settings.shards, "shards.parquet", []),
            ("columns@candidate", alone, "one.parquet", []),
        )
    )
    server.wait()
    sent = [*reader.sources, "column-0/broken.png"]
    encoded = [base64.b64encode((pictures / source).read_bytes()).decode() for source in sent]
    *served, broken = server.ask({"inputs": {"image": encoded}, "params": {"all": True}})
    arrays = [sample["image"].tolist() for sample in reader.read(range(len(reader)))]
    served_arrays = server.ask({"inputs": {"image": arrays}, "params": {"all": True}})

    assert apart(expected)
    agree(served, expected, classes)
    agree(served_arrays, expected, classes)
    of_files, of_shards = table(tmp_path / "files.parquet"), table(tmp_path / "shards.parquet")
    agree([of_files[source] for source in reader.sources], expected, classes)
    agree([of_shards[source] for source in reader.sources], expected, classes)
    agree([*table(tmp_path / "one.parquet").values()], expected[:1], classes)
    assert json.loads(one.stdout)["inputs"] == 1
    assert [*of_files] == sorted(of_files)
    assert [*of_shards] == reader.sources
    right = np.mean([row["class"] == row["label"] for row in of_shards.values()])
    assert right == pytest.approx(report.metrics["test/accuracy"])

    answer = json.loads(files.stdout)
    assert (answer["inputs"], answer["answered"], answer["refused"]) == (73, 72, {"truncated": 1})
    assert len(of_files) == 73
    for row in (broken, of_files["column-0/broken.png"]):
        assert (row["class"], row["probability"], row["refused"]) == (None, None, "truncated")
        assert row["detail"]
    (look,) = answer["explained"]
    assert Path(look).exists()
    for done in (files, shards, one):
        assert "Traceback" not in done.stderr
        assert "answered" in done.stderr
    assert "Traceback" not in server.log.read_text()


def test_a_model_that_is_not_there_is_named_with_what_is(
    settings: RunSettings, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = untrained(settings, tmp_path / "model")
    model.log("champion")
    common = [str(pictures), "--output", str(tmp_path / "out.parquet"), "--tracking.uri", model.uri]

    status, said = [], []
    for word in ("colums@champion", "columns@winner", "columns/7"):
        status.append(main(["predict", word, *common]))
        said.append(capsys.readouterr().err)

    assert status == [2, 2, 2]
    assert "no registered model colums. Perhaps you meant columns" in said[0]
    assert "no alias winner" in said[1]
    assert "champion (version 1)" in said[1]
    assert "no version 7" in said[2]
    assert not (tmp_path / "out.parquet").exists()


def test_a_logged_model_takes_files_in_a_table_of_pandas_too(settings: RunSettings, tmp_path: Path) -> None:
    model = untrained(settings, tmp_path / "model")
    model.log()
    reader = Reader(model.shards, "test")
    expected = model.classifier.probabilities(reader.read(range(3)))
    mlflow.set_tracking_uri(model.uri)
    loaded = mlflow.pyfunc.load_model("models:/columns@candidate")
    raw = [Path(settings.data.raw, source).read_bytes() for source in reader.sources[:3]]

    files = loaded.predict(pd.DataFrame({"image": raw, "source": reader.sources[:3]}))
    arrays = loaded.predict({"image": np.stack([one["image"] for one in reader.read(range(3))])})
    example = loaded.predict(loaded.input_example)

    for found in (files, arrays):
        assert list(found.columns) == ["class", "probability", "refused", "detail"]
        assert found["probability"].astype(float).to_numpy() == pytest.approx(expected.max(1), abs=BOUND)
    assert len(example) == 1
