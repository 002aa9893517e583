"""A run's page in MLflow says what the run is and how to go on with it."""

import pytest
from mlflow import MlflowClient

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking.tracker import Tracker, command

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def test_the_runs_description_names_its_data_its_place_and_the_command_that_goes_on(
    settings: RunSettings,
) -> None:
    layout = Layout.of(settings, "0123456789abcdef")
    tracker = Tracker.open(settings, layout)

    with tracker.stage("train"):
        pass

    run = MlflowClient(settings.tracking_uri).get_run(tracker.run_id)
    said = run.data.tags["mlflow.note.content"]
    assert "learns from `image`" in said
    assert "`0123456789ab`" in said
    assert f"```\n{command('run', settings)}\n```" in said
    assert str(layout.folder) in said
