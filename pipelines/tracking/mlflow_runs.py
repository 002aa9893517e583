"""Runs as MLflow knows them, found by any of their names, with what a comparison of them says."""

import json
import re
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from cluster.mistake import UserError
from pipelines.tracking import reach
from pipelines.tracking.mlflow_store import load
from pipelines.tracking.reference import Reference

CODE_TAGS = ("code", "code.version", "code.commit", "mlflow.source.git.commit")
"""Tags of a run, or of the model version that came from it, that name the code; the first one counts."""
NEWEST = 5
"""Runs that are named where none is near."""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training."""

    run_id: str
    name: str
    experiment: str
    """Its id."""
    status: str
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """The last value of each."""
    shards: str = ""
    """Digest of the shards that it learns from."""
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])
    """What its stages took, all attempts together."""
    models: tuple[str, ...] = ()
    """MODEL/VERSION of the versions that came from it."""
    code: str = ""
    uri: str = ""
    """The store that has it."""


@dataclass(frozen=True)
class Runs:
    """The runs of one store."""

    uri: str
    client: Any

    @classmethod
    def connect(cls, uri: str) -> "Runs":
        """Those of the store at `uri`.

        Raises:
            UserError: it cannot be reached, or is no store.
        """
        reach.check(uri)
        place = urlparse(uri)
        # MLflow would make the database that is not there.
        if place.scheme == "sqlite" and not Path(place.path[1:]).exists():
            raise UserError(
                f"There is no tracking store {uri}: no run was tracked there. Name another --tracking.uri."
            )
        return cls(uri, load().MlflowClient(tracking_uri=uri))

    def find(self, name: str) -> Run:
        """The run that is called so.

        Raises:
            UserError: none is, or several are.
        """
        with _answering(self.uri):
            if (model := Reference.find(name)) and model.is_version:
                return self._of_model(name, model)
            found = {
                self._training(run).info.run_id: run for run in self._called(name.removeprefix("runs:/"))
            }
            if not found:
                raise UserError(f"There is no run {name} in {self.uri}. {self._near(name)}")
            if len(found) > 1:
                raise UserError(
                    f"{len(found)} runs in {self.uri} are called {name}: {', '.join(sorted(found))}. Name "
                    f"the one by its id."
                )
            return self.run(next(iter(found)))

    def run(self, run_id: str) -> Run:
        """The run with this id, with all that is said of it."""
        with _answering(self.uri):
            run = self.client.get_run(run_id)
            versions = self.client.search_model_versions(f"run_id = '{run_id}'")
            return Run(
                run_id=run_id, name=run.info.run_name, experiment=run.info.experiment_id,
                status=run.info.status, params=run.data.params, metrics=run.data.metrics,
                shards=_digest(run), seconds=self._seconds(run), uri=self.uri,
                models=tuple(sorted(f"{one.name}/{one.version}" for one in versions)),
                code=_code([run.data.tags, *(one.tags for one in versions)]),
            )  # fmt: skip

    def _called(self, name: str) -> list[Any]:
        """Runs with this name, or whose id begins so."""
        if '"' in name:
            return []  # MLflow's filters cannot say it
        by_name = self._search(f'attributes.run_name = "{name}" and tags.mlflow.parentRunId IS NULL')
        hexadecimal = re.fullmatch(r"[0-9a-f]{4,32}", name)
        return by_name + (self._search(f"attributes.run_id LIKE '{name}%'") if hexadecimal else [])

    def _training(self, run: Any) -> Any:
        """The run itself, or that of which it is a stage."""
        parent = run.data.tags.get("mlflow.parentRunId")
        return self.client.get_run(parent) if parent else run

    def _of_model(self, called: str, model: Reference) -> Run:
        from mlflow.exceptions import MlflowException

        try:
            found = (
                self.client.get_model_version_by_alias(model.name, model.alias)
                if model.alias
                else self.client.get_model_version(model.name, str(model.version))
            )
            return self.run(found.run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise UserError(f"There is no {called} in {self.uri}. {self._near(called)}") from error

    def _near(self, name: str) -> str:
        """What may have been meant."""
        trainings = self._search("tags.mlflow.parentRunId IS NULL")
        names = [run.info.run_name for run in trainings]
        models = self.client.search_registered_models()
        versions = self.client.search_model_versions()
        aliases = [f"{model.name}@{alias}" for model in models for alias in model.aliases]
        known = [*names, *aliases, *(f"{one.name}/{one.version}" for one in versions)]
        if near := get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.5):
            return f"Perhaps you meant {' or '.join(near)}."
        newest = [f"{run.info.run_name} ({run.info.run_id[:8]})" for run in trainings[:NEWEST]]
        return f"The newest are {', '.join(newest)}." if newest else "It has no run at all."

    def _search(self, wanted: str) -> list[Any]:
        """The runs of all experiments for which this holds, the newest first."""
        experiments = [one.experiment_id for one in self.client.search_experiments()]
        return self.client.search_runs(experiments, wanted, order_by=["attributes.start_time DESC"])

    def _seconds(self, run: Any) -> dict[str, float]:
        nested = self.client.search_runs(
            [run.info.experiment_id],
            f"tags.mlflow.parentRunId = '{run.info.run_id}'",
            order_by=["attributes.start_time ASC"],
        )
        seconds: dict[str, float] = {}
        for one in nested:
            stage = one.data.tags.get("stage", one.info.run_name)
            seconds[stage] = seconds.get(stage, 0.0) + one.data.metrics.get("seconds", 0.0)
        return seconds


@contextmanager
def _answering(uri: str) -> Generator[None]:
    """What the store itself objects to (credentials, a version) is the person's to mend."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        words = " ".join(str(error).split())
        raise UserError(
            f"{uri} answers: {words[:300]}. See that tracking.uri names a store of MLflow."
        ) from error


def _digest(run: Any) -> str:
    """The digest of the newest dataset; MLflow's own field for it is too short for all of it."""
    inputs = run.inputs.dataset_inputs if run.inputs else []
    if not inputs:
        return ""
    dataset = inputs[-1].dataset
    try:
        return str(json.loads(dataset.profile)["digest"])
    except (TypeError, ValueError, KeyError):  # another program's dataset
        return dataset.digest


def _code(tags: Iterable[Mapping[str, str]]) -> str:
    return next((some[name] for some in tags for name in CODE_TAGS if name in some), "")
