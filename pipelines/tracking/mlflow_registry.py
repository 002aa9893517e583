"""The model registry: a model is logged with its run, and its version gets an alias."""

import os
import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from pipelines.tracking import mlflow_models
from pipelines.tracking.mlflow_store import QUICK, load

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Registry:
    """The registry that is part of a tracking store."""

    uri: str

    def register(
        self, name: str, run_id: str, model: Mapping[str, Any], example: Arrays, tags: Mapping[str, str]
    ) -> int:
        """Log a model (arguments of `mlflow.pyfunc.log_model`) and register it; its version.

        `example` holds one sample of every input, [1, ...].
        """
        mlflow, client = load(), self._client()
        mlflow.set_tracking_uri(self.uri)
        signature = {"signature": mlflow_models.signature(tuple(example)), "input_example": dict(example)}
        # MLflow asks for type hints as another way to a signature, past any filter, so its warnings are
        # taken in instead.
        with patient(), mlflow.start_run(run_id=run_id), warnings.catch_warnings(record=True):
            info = mlflow.pyfunc.log_model(name="model", **signature, **model)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        version = client.create_model_version(
            name, info.model_uri, run_id, tags=dict(tags), model_id=info.model_id
        ).version
        return int(version)

    def made(self, name: str, run_id: str, weights: str, after: int) -> int:
        """A version later than `after` that the run has made of these weights; 0: none."""
        found = self._client().search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        numbers = [int(one.version) for one in found if one.tags.get("weights") == weights]
        return min((number for number in numbers if number > after), default=0)

    def point_alias(self, name: str, alias: str, version: int) -> None:
        """Let the alias point to this version."""
        self._client().set_registered_model_alias(name, alias, str(version))

    def find(self, name: str, which: str) -> int | None:
        """The version that `which`, a number or an alias, names; None where there is none."""
        from mlflow.exceptions import MlflowException

        client = self._client()
        try:
            if which.isdigit():
                return int(client.get_model_version(name, which).version)
            return int(client.get_model_version_by_alias(name, which).version)
        except MlflowException as error:
            # No such model or version; no such alias.
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            return None

    def fetched(self, name: str, version: int, artifact: str, folder: Path) -> Path:
        """A copy, below `folder`, of a file that this version is made from: `weights`, or `description`."""
        mlflow, uri = load(), f"models:/{name}/{version}"
        mlflow.set_tracking_uri(self.uri)
        from mlflow.models import Model

        folder.mkdir(parents=True, exist_ok=True)
        with patient():
            path = Model.load(uri).flavors["python_function"]["artifacts"][artifact]["path"]
            found = mlflow.artifacts.download_artifacts(artifact_uri=f"{uri}/{path}", dst_path=str(folder))
        return Path(found)

    def _client(self) -> Any:
        return load().MlflowClient(tracking_uri=self.uri)


@contextmanager
def patient() -> Generator[None]:
    """Weights take longer to send than points: MLflow's own patience holds meanwhile."""
    ours = {name: value for name, value in QUICK.items() if os.environ.get(name) == value}
    for name in ours:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(ours)
