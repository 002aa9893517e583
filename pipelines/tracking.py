"""What a run leaves in MLflow: one run per training, with the stages nested under it, and the model."""

import json
import logging
import os
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import write_whole
from pipelines.layout import Layout, binding
from pipelines.settings import RunSettings, as_params

REACH_SECONDS = 2.0
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


Arrays = Mapping[str, NDArray[Any]]


def is_server(uri: str) -> bool:
    """Whether the store is a tracking server, and no database."""
    return urlparse(uri).scheme in ("http", "https")


def check(uri: str) -> None:
    """Find out, in seconds and without MLflow, whether the tracking store can be reached.

    Raises:
        UserError: the server does not answer.
    """
    if not is_server(uri):
        _refuse_scheme(uri)
        return
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return  # something answers; credentials and proxies are MLflow's to judge
    except (OSError, ValueError, HTTPException) as error:
        raise UserError(
            f"No tracking server answers at {uri} ({getattr(error, 'reason', error)}). Start it "
            f"(`mlflow server`), mend tracking.uri, or leave tracking.uri out to track in the workspace."
        ) from error


def _refuse_scheme(uri: str) -> None:
    scheme = urlparse(uri).scheme.partition("+")[0]
    if scheme not in SCHEMES or "://" not in uri:
        raise UserError(
            f"tracking.uri is {uri}: it begins with none of {', '.join(f'{one}://' for one in SCHEMES)}. "
            f"For a server write http://HOST:PORT."
        )


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """The MLflow run of one workspace."""

    client: Any
    experiment_id: str
    run_id: str
    settings: RunSettings

    @classmethod
    def open(cls, settings: RunSettings, layout: Layout) -> "Tracker":
        """The run that this training has, or a new one with its settings as parameters."""
        client = _mlflow().MlflowClient(tracking_uri=settings.tracking_uri)
        record = json.loads(layout.run.read_bytes()) if layout.run.exists() else None
        if record is None or not _has_run(client, record["run_id"]):
            record = _new_run(client, settings, layout)
        return cls(
            client=client, experiment_id=record["experiment_id"], run_id=record["run_id"], settings=settings
        )

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """A nested run that holds how long `name` took and how it ended; the run itself ends alike."""
        tags = {"mlflow.parentRunId": self.run_id, "stage": name}
        nested = self.client.create_run(self.experiment_id, run_name=name, tags=tags).info.run_id
        self.client.update_run(self.run_id, status="RUNNING")
        began = time.monotonic()
        try:
            yield
        except BaseException as error:
            with suppress(Exception):  # what went wrong first is what the person must hear of
                self._end(nested, began, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        self._end(nested, began, "FINISHED")

    def _end(self, nested: str, began: float, status: str) -> None:
        self.client.log_metric(nested, "seconds", time.monotonic() - began)
        for run_id in (nested, self.run_id):
            self.client.set_terminated(run_id, status)

    def points(self, points: Iterable[Mapping[str, float]]) -> None:
        """Log points of curves; each holds `step`, `time` (s since 1970) and metrics."""
        from mlflow.entities import Metric

        metrics = [
            Metric(name, value, int(point["time"] * 1000), int(point["step"]))
            for point in points
            for name, value in point.items()
            if name not in ("step", "time")
        ]
        for begin in range(0, len(metrics), 1000):  # the most that one request takes
            self.client.log_batch(self.run_id, metrics=metrics[begin : begin + 1000])

    def told(self) -> dict[str, int]:
        """The last step of the training and the validation curve that the store has."""
        history = {
            kind: self.client.get_metric_history(self.run_id, f"{kind}/loss") for kind in ("train", "val")
        }
        return {kind: max(metric.step for metric in metrics) for kind, metrics in history.items() if metrics}

    def result(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the figures of an evaluation."""
        self.points([{"step": step, "time": time.time(), **metrics}])

    def picture(self, path: str | Path) -> None:
        """Keep a file with the run."""
        self.client.log_artifact(self.run_id, str(path))

    def dataset(self, place: str, digest: str, samples: Mapping[str, int]) -> None:
        """Name the shards as the run's input."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=self.settings.name,
            digest=digest[:36],  # the longest that MLflow stores
            source_type="local",
            source=json.dumps({"uri": place}),
            profile=json.dumps({"digest": digest, **samples}),
        )
        tag = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(self.run_id, [DatasetInput(dataset, [tag])])

    def register(self, model: Mapping[str, Any], example: Arrays, tags: Mapping[str, str]) -> int:
        """Log a model (arguments of `mlflow.pyfunc.log_model`) and register it; its version.

        `example` holds one sample of every input, [1, ...]; the signature is drawn from it.
        """
        mlflow, name = _mlflow(), self.settings.name
        mlflow.set_tracking_uri(self.settings.tracking_uri)
        signature = {"signature": _signature(example), "input_example": dict(example)}
        # MLflow asks for type hints as another way to a signature, past any filter, so its warnings are
        # taken in instead.
        with mlflow.start_run(run_id=self.run_id), warnings.catch_warnings(record=True):
            info = mlflow.pyfunc.log_model(name="model", **signature, **model)
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        version = self.client.create_model_version(
            name, info.model_uri, self.run_id, tags=dict(tags), model_id=info.model_id
        ).version
        return int(version)

    def point_alias(self, version: int) -> None:
        """Let the alias point to this version."""
        self.client.set_registered_model_alias(self.settings.name, self.settings.tracking.alias, str(version))


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is known of a version of the shards, as a run of its own."""

    experiment: str
    """The experiment's name."""
    run_name: str
    params: Mapping[str, str]
    description: Mapping[str, Any]
    """All there is to say, kept as `description.json`."""
    sheet: Path
    """The contact sheet."""

    def log(self, uri: str, root: Path) -> tuple[str, str]:
        """Make the run; its experiment and itself, by id."""
        from mlflow.entities import Param

        client = _mlflow().MlflowClient(tracking_uri=uri)
        experiment = _experiment(client, self.experiment, uri, root)
        run_id = client.create_run(experiment, run_name=self.run_name).info.run_id
        client.log_batch(run_id, params=[Param(name, value[:6000]) for name, value in self.params.items()])
        client.log_dict(run_id, dict(self.description), "description.json")
        client.log_artifact(run_id, str(self.sheet))
        client.set_terminated(run_id)
        return experiment, run_id


def link(uri: str, port: int, run: tuple[str, str] | None = None) -> str:
    """The deep link to a run (its experiment and itself, by id), or to the front page.

    A store that is no server is shown by `perceiver ui` at this port.
    """
    server = (uri if is_server(uri) else "").rstrip("/") or f"http://127.0.0.1:{port}"
    return f"{server}/#/experiments/{run[0]}/runs/{run[1]}" if run else server


def _mlflow() -> Any:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Over HTTP the client prints links to stdout, which is kept for --json.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return mlflow


def _experiment(client: Any, name: str, uri: str, root: Path) -> str:
    """The experiment of this name; its files go below `root` where the store has no place of its own."""
    found = client.get_experiment_by_name(name)
    if found and found.lifecycle_stage != "active":
        raise UserError(
            f"The experiment {name} was deleted in {uri}. Restore it "
            f"(`mlflow experiments restore -x {found.experiment_id}`), or choose another name."
        )
    if found:
        return found.experiment_id
    return client.create_experiment(name, artifact_location=_artifacts(uri, root))


def _artifacts(uri: str, root: Path) -> str | None:
    """Where the files of runs go: a server knows its own place, a database is given the folder beside it."""
    place = urlparse(uri)
    if place.scheme in ("http", "https"):
        return None
    beside = Path(place.path[1:]).absolute().parent if place.scheme == "sqlite" else root
    return (beside / "mlartifacts").as_uri()


def _has_run(client: Any, run_id: str) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return client.get_run(run_id).info.lifecycle_stage == "active"
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return False


def _new_run(client: Any, settings: RunSettings, layout: Layout) -> dict[str, Any]:
    """A run with its parameters and run file, the sharding nested under it; the layout remembers it."""
    from mlflow.entities import Param

    experiment = _experiment(client, settings.name, settings.tracking_uri, settings.root)
    run_id = client.create_run(experiment, run_name=f"{settings.root.name}-{layout.folder.name}").info.run_id
    params = [Param(name, value[:6000]) for name, value in as_params(settings).items()]
    for begin in range(0, len(params), 100):  # the most that one request takes
        client.log_batch(run_id, params=params[begin : begin + 100])
    if settings.run_file:
        client.log_artifact(run_id, settings.run_file)
    if layout.sharding.exists():
        _past_stage(client, experiment, run_id, "shard", **json.loads(layout.sharding.read_bytes()))
    record = {"run_id": run_id, "experiment_id": experiment, "settings": binding(settings)}
    layout.folder.mkdir(parents=True, exist_ok=True)
    write_whole(layout.run, json.dumps(record, indent=1).encode())
    return record


def _past_stage(client: Any, experiment: str, run_id: str, name: str, *, began: float, ended: float) -> None:
    """A nested run for a stage that was done before the run was there."""
    tags = {"mlflow.parentRunId": run_id, "stage": name}
    nested = client.create_run(experiment, int(began * 1000), tags, run_name=name).info.run_id
    client.log_metric(nested, "seconds", ended - began)
    client.set_terminated(nested, end_time=int(ended * 1000))


def _signature(example: Arrays) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(array.dtype, (-1, *_free(array)), name) for name, array in example.items()
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec("string", "class"), ColSpec("float", "probability")]
    return ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs))


def _free(array: NDArray[Any]) -> tuple[int, ...]:
    """The shape of one sample: a picture's is fixed, what has a length may have another."""
    return array.shape[1:] if array.ndim == 4 else (-1, *array.shape[2:])
