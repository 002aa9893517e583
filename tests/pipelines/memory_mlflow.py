"""An MLflow client in memory, whose calls can be cut off before or after they took effect."""

import re
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST


class MemoryClient:
    """Has the face of MlflowClient, as far as a training is told through it."""

    def __init__(self) -> None:
        self.experiments: dict[str, str] = {}
        self.runs: dict[str, Any] = {}
        self.rows: dict[str, list[Any]] = defaultdict(list)
        """Every metric that was logged, by run."""

    def get_experiment_by_name(self, name: str) -> Any:
        if name in self.experiments:
            return SimpleNamespace(experiment_id=self.experiments[name], lifecycle_stage="active")
        return None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        return self.experiments.setdefault(name, str(len(self.experiments)))

    def create_run(self, experiment: str, start: int, tags: dict[str, str], run_name: str) -> Any:
        run_id = f"{len(self.runs):032x}"
        info = SimpleNamespace(
            run_id=run_id,
            experiment_id=experiment,
            lifecycle_stage="active",
            status="RUNNING",
            run_name=run_name,
        )
        data = SimpleNamespace(tags=tags, params={}, metrics={})
        self.runs[run_id] = SimpleNamespace(info=info, data=data, inputs=[], files={})
        return self.runs[run_id]

    def get_run(self, run_id: str) -> Any:
        if run_id not in self.runs:
            raise MlflowException("no such run", RESOURCE_DOES_NOT_EXIST)
        return self.runs[run_id]

    def delete_run(self, run_id: str) -> None:
        self.runs[run_id].info.lifecycle_stage = "deleted"

    def search_runs(self, experiments: list[str], wanted: str) -> list[Any]:
        tags = dict(re.findall(r"tags\.(\S+) = '([^']*)'", wanted))
        return [run for run in self.active() if tags.items() <= run.data.tags.items()]

    def active(self) -> list[Any]:
        return [run for run in self.runs.values() if run.info.lifecycle_stage == "active"]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        self.rows[run_id] += metrics
        self.runs[run_id].data.metrics |= {metric.key: metric.value for metric in metrics}
        self.runs[run_id].data.params |= {param.key: param.value for param in params}

    def get_metric_history(self, run_id: str, name: str) -> list[Any]:
        return [row for row in self.rows[run_id] if row.key == name]

    def set_tag(self, run_id: str, name: str, value: str) -> None:
        self.runs[run_id].data.tags[name] = value

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self.runs[run_id].files[name] = text

    def log_artifact(self, run_id: str, path: str) -> None:
        self.runs[run_id].files[path] = path

    def log_inputs(self, run_id: str, inputs: list[Any]) -> None:
        self.runs[run_id].inputs = inputs

    def update_run(self, run_id: str, status: str) -> None:
        self.runs[run_id].info.status = status

    def set_terminated(self, run_id: str, status: str, ended: int) -> None:
        self.runs[run_id].info.status = status


class KilledError(BaseException):
    """The process is no more."""


class Cut:
    """The same client until so many calls were made; the next is cut off, before or after it takes effect.

    `how` is raised: a kill, or the error of a server that went away.
    """

    def __init__(self, client: MemoryClient, calls: int, *, after: bool, how: type[BaseException]) -> None:
        self.client, self.calls, self.after, self.how = client, calls, after, how

    def __getattr__(self, name: str) -> Any:
        def call(*words: Any, **options: Any) -> Any:
            self.calls -= 1
            if self.calls == -1 and not self.after:
                raise self.how("before")
            result = getattr(self.client, name)(*words, **options)
            if self.calls == -1:
                raise self.how("after")
            return result

        return call
