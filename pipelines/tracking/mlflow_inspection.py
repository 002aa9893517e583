"""What is known of shards, as a run in MLflow."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.tracking.mlflow_store import load, open_experiment


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

        client = load().MlflowClient(tracking_uri=uri)
        experiment = open_experiment(client, self.experiment, uri, root)
        run_id = client.create_run(experiment, run_name=self.run_name).info.run_id
        client.log_batch(run_id, params=[Param(name, value[:6000]) for name, value in self.params.items()])
        client.log_dict(run_id, dict(self.description), "description.json")
        client.log_artifact(run_id, str(self.sheet))
        client.set_terminated(run_id)
        return experiment, run_id
