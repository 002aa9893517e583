"""What a training leaves in MLflow, told so that an event told twice is there once.

One run per training, with the stages nested under it. The files mlflow_*.py alone speak to MLflow.
"""

import json
import logging
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from cluster.mistake import UserError
from pipelines.tracking.lines import Line
from pipelines.tracking.points import Known, Value
from pipelines.tracking.reach import is_server

QUICK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""Who tells has pauses of its own between tries; MLflow's would hold it for minutes. Read at each request."""


PARENT = "mlflow.parentRunId"
LONGEST_TAG = 5000
"""Characters that every store takes."""


class RefusedError(Exception):
    """The store answers that it will never take this."""


@dataclass(frozen=True, kw_only=True)
class Store:
    """A tracking store, through MLflow's client."""

    client: Any
    uri: str
    root: Path
    """Below it lie the files of runs, where the store has no place of its own."""

    @classmethod
    def connect(cls, uri: str, root: Path) -> "Store":
        """The store at `uri`; a database is brought up to date."""
        return cls(client=load().MlflowClient(tracking_uri=uri), uri=uri, root=root)

    def run(self, event: Line, known: str) -> tuple[str, str]:
        """The run of a training (its experiment and itself, by id): the known one, or the one that was made
        just before a kill, or a new one."""
        if known and (run := self._active(known)):
            experiment = run.info.experiment_id
            self._delete(twin for twin in self._tagged(experiment, {"event": event["id"]}) if twin != known)
            return experiment, known
        experiment = open_experiment(self.client, event["experiment"], self.uri, self.root)
        return experiment, self._one(experiment, event["id"], event["name"], event["time"], {})

    def steps(self, run_id: str) -> Known:
        """The steps at which each metric has a value."""
        names = self.client.get_run(run_id).data.metrics
        return {
            name: {value.step for value in self.client.get_metric_history(run_id, name)} for name in names
        }

    def values(self, run_id: str, values: Sequence[Value]) -> None:
        """Log values of metrics, 1,000 at most.

        Raises:
            RefusedError: one of them is no metric.
        """
        from mlflow.entities import Metric

        metrics = [Metric(one.name, one.value, int(one.time * 1000), one.step) for one in values]
        with self._refusing(run_id):
            self.client.log_batch(run_id, metrics=metrics)

    def tell(self, experiment: str, run_id: str, event: Line) -> None:
        """Tell one event.

        Raises:
            RefusedError: the store, or the lack of a file, leaves no hope for it.
        """
        tellers = {
            "run": self._run, "begun": self._begun, "ended": self._ended, "dataset": self._dataset,
            "picture": self._picture, "tags": self._tags,
        }  # fmt: skip
        with self._refusing(run_id):
            tellers[event["kind"]](experiment, run_id, event)

    def _run(self, experiment: str, run_id: str, event: Line) -> None:  # noqa: ARG002  (one face for all)
        from mlflow.entities import Param

        there = self.client.get_run(run_id).data.params
        params = [Param(name, value[:6000]) for name, value in event["params"].items() if name not in there]
        for begin in range(0, len(params), 100):  # the most that one request takes
            self.client.log_batch(run_id, params=params[begin : begin + 100])
        if "about" in event:  # a journal of before has none
            self.client.set_tag(run_id, "mlflow.note.content", event["about"])
        for name, text in event["files"].items():
            self.client.log_text(run_id, text, name)

    def _begun(self, experiment: str, run_id: str, event: Line) -> None:
        tags = {**event.get("tags", {}), PARENT: run_id, "stage": event["stage"]}
        self._one(experiment, event["id"], event["stage"], event["time"], tags)
        self.client.update_run(run_id, status="RUNNING")

    def _ended(self, experiment: str, run_id: str, event: Line) -> None:
        from mlflow.entities import Metric

        ended = int(event["time"] * 1000)
        for nested in self._tagged(experiment, {PARENT: run_id, "event": event["of"]}):
            if event["seconds"] is not None:
                self.client.log_batch(nested, metrics=[Metric("seconds", event["seconds"], ended, 0)])
            self.client.set_terminated(nested, event["status"], ended)
        self.client.set_terminated(run_id, event["status"], ended)

    def _dataset(self, experiment: str, run_id: str, event: Line) -> None:  # noqa: ARG002  (as above)
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name=event["name"],
            digest=event["digest"][:36],  # the longest that MLflow stores
            source_type="local",
            source=json.dumps({"uri": event["place"]}),
            profile=json.dumps({"digest": event["digest"], **event["samples"]}),
        )
        tag = InputTag("mlflow.data.context", "training")
        self.client.log_inputs(run_id, [DatasetInput(dataset, [tag])])

    def _picture(self, experiment: str, run_id: str, event: Line) -> None:  # noqa: ARG002  (as above)
        if not Path(event["path"]).exists():
            raise RefusedError(f"{event['path']} is gone")
        self.client.log_artifact(run_id, event["path"])

    def _tags(self, experiment: str, run_id: str, event: Line) -> None:  # noqa: ARG002  (as above)
        for name, value in event["tags"].items():
            self.client.set_tag(run_id, name, value[:LONGEST_TAG])

    def _one(self, experiment: str, event: str, name: str, began: float, tags: Mapping[str, str]) -> str:
        """The one run of an event, found or made."""
        # The other tags hold words of any kind, which a search cannot be asked for.
        mark = {name: value for name, value in tags.items() if name == PARENT} | {"event": event}
        found = self._tagged(experiment, mark)
        if not found:
            self.client.create_run(experiment, int(began * 1000), {**tags, **mark}, run_name=name)
            found = self._tagged(experiment, mark)
        self._delete(found[1:])
        return found[0]

    def _delete(self, twins: Iterable[str]) -> None:
        """A request that was given up is carried out all the same when a stopped server goes on: the run
        that it makes is one too many."""
        for twin in twins:
            self.client.delete_run(twin)

    def _tagged(self, experiment: str, tags: Mapping[str, str]) -> list[str]:
        """The runs that bear these tags, which is one if all went well."""
        wanted = " and ".join(f"tags.{name} = '{value}'" for name, value in tags.items())
        found = self.client.search_runs([experiment], wanted)
        return sorted(run.info.run_id for run in found)

    def _active(self, run_id: str) -> Any:
        """The run, or None where the store has none of this id, or it was deleted."""
        from mlflow.exceptions import MlflowException

        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return run if run.info.lifecycle_stage == "active" else None

    @contextmanager
    def _refusing(self, run_id: str) -> Generator[None]:
        """Tell apart what the store will never take from a run that was deleted meanwhile."""
        from mlflow.exceptions import MlflowException

        try:
            yield
        except MlflowException as error:
            if error.error_code == "INVALID_PARAMETER_VALUE" and self._active(run_id):
                raise RefusedError(str(error)) from error
            raise


def load() -> Any:
    """MLflow, made quiet, and quick to give up."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    # Over HTTP the client prints links to stdout, which is kept for --json.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for name, value in QUICK.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what it logs as an error it raises too
    return mlflow


def open_experiment(client: Any, name: str, uri: str, root: Path) -> str:
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
    if is_server(uri):
        return None
    place = urlparse(uri)
    beside = Path(place.path[1:]).absolute().parent if place.scheme == "sqlite" else root
    return (beside / "mlartifacts").as_uri()
