"""The tracker on a real store: one run per training, whatever is started how often."""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from cluster.mistake import UserError
from pipelines.layout import Layout
from pipelines.settings import RunSettings, TrackingSettings, as_params
from pipelines.tracking import journal, lines, points
from pipelines.tracking.journal import RunRecord
from pipelines.tracking.reach import check, is_server
from pipelines.tracking.tracker import Tracker, refuse_absent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]


@pytest.fixture
def layout(settings: RunSettings) -> Layout:
    settings.root.mkdir()
    return Layout.of(settings, "0123456789abcdef")


@pytest.fixture
def tracker(settings: RunSettings, layout: Layout) -> Tracker:
    return Tracker.open(settings, layout)


@pytest.fixture
def client(settings: RunSettings) -> MlflowClient:
    return MlflowClient(settings.tracking_uri)


def nested(client: MlflowClient, tracker: Tracker) -> list[Run]:
    experiment = client.get_run(tracker.run_id).info.experiment_id
    return client.search_runs(
        [experiment], f"tags.mlflow.parentRunId = '{tracker.run_id}'", order_by=["attributes.start_time ASC"]
    )


def test_a_second_start_finds_the_first_ones_run_and_tells_nothing_twice(
    settings: RunSettings, layout: Layout, tracker: Tracker, client: MlflowClient
) -> None:
    layout.contact_sheet.write_bytes(b"png")
    for number in (1, 2):
        again = Tracker.open(settings, layout)
        with again.stage("train"):
            again.dataset("shards", "0123456789abcdef", {"train": 3})
            again.picture(layout.contact_sheet)
            points.append(layout.points, {"step": number, "time": 1e9 + number, "train/loss": 1.0})
            points.append(layout.points, {"step": number, "time": 2e9 + number, "train/loss": 1.0})

    run = client.get_run(tracker.run_id)
    assert run.data.params == as_params(settings.placed())
    assert len(run.inputs.dataset_inputs) == 1
    told = [line["event"] for line in lines.read(layout.told)[0] if "event" in line]
    assert len(told) == len(set(told)) == 1 + 2 + 3 * 2, (
        "the run, dataset and picture, begin, end and table of two stages"
    )
    assert [row.step for row in client.get_metric_history(tracker.run_id, "train/loss")] == [1, 2]
    assert [(run.info.run_name, run.info.status) for run in nested(client, tracker)] == [
        ("train", "FINISHED"), ("train", "FINISHED"),
    ]  # fmt: skip
    assert len(client.search_runs([run.info.experiment_id])) == 3


def test_the_run_file_is_kept_as_it_was_when_the_training_began(
    settings: RunSettings, layout: Layout, run_file: Path, client: MlflowClient, tmp_path: Path
) -> None:
    tracker = Tracker.open(replace(settings, run_file=str(run_file)), layout)
    began_with = run_file.read_text()
    run_file.write_text("another")

    with tracker.stage("train"):
        pass

    there = client.download_artifacts(tracker.run_id, "run.toml", str(tmp_path))
    assert Path(there).read_text() == began_with


def test_a_run_that_was_deleted_is_made_again_with_all_that_was_told(
    settings: RunSettings, layout: Layout, tracker: Tracker, client: MlflowClient
) -> None:
    with tracker.stage("train"):
        points.append(layout.points, {"step": 1, "time": 1e9, "train/loss": 1.0})
    first = tracker.run_id
    client.delete_run(first)

    with tracker.stage("evaluate"):
        pass

    assert tracker.run_id != first
    assert len(client.get_metric_history(tracker.run_id, "train/loss")) == 1
    assert [run.info.run_name for run in nested(client, tracker)] == ["train", "evaluate"]


def test_a_stage_that_fails_is_marked_so_and_a_later_one_mends_the_run(
    tracker: Tracker, client: MlflowClient
) -> None:
    with pytest.raises(ZeroDivisionError), tracker.stage("train"):
        raise ZeroDivisionError
    failed = client.get_run(tracker.run_id).info.status

    with tracker.stage("train"):
        pass

    assert failed == "FAILED"
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_stage_whose_process_was_killed_gets_an_end_at_the_next_start(
    settings: RunSettings, layout: Layout, tracker: Tracker, client: MlflowClient
) -> None:
    journal.write(layout, "begun", stage="train", time=time.time() - 1)

    with Tracker.open(settings, layout).stage("train"):
        pass

    assert [run.info.status for run in nested(client, tracker)] == ["KILLED", "FINISHED"]


def test_the_sharding_before_the_run_is_nested_under_it(
    settings: RunSettings, layout: Layout, client: MlflowClient
) -> None:
    layout.folder.mkdir(parents=True)
    layout.sharding.write_text(json.dumps({"began": 1e9, "ended": 1e9 + 7.5}))

    tracker = Tracker.open(settings, layout)
    with tracker.stage("train"):
        pass

    sharding, _ = nested(client, tracker)
    assert sharding.info.run_name == "shard"
    assert sharding.data.metrics == {"seconds": 7.5}


def test_a_run_of_before_there_were_journals_is_gone_on_with(
    settings: RunSettings, layout: Layout, client: MlflowClient
) -> None:
    experiment = client.create_experiment(settings.name)
    run = client.create_run(experiment).info.run_id
    client.log_param(run, "seed", "7")
    layout.folder.mkdir(parents=True)
    layout.run.write_text(json.dumps({"run_id": run, "experiment_id": experiment, "settings": {}}))

    tracker = Tracker.open(settings, layout)
    with tracker.stage("train"):
        pass

    assert tracker.run_id == run
    assert client.get_run(run).data.params == {**as_params(settings.placed()), "seed": "7"}, (
        "what it lacked is added"
    )


def test_a_locked_database_is_waited_for_and_kills_nothing(
    settings: RunSettings, tracker: Tracker, client: MlflowClient
) -> None:
    database = settings.root / "mlflow.db"
    with tracker.stage("shard"):
        pass
    lock = sqlite3.connect(database, check_same_thread=False)
    lock.execute("BEGIN EXCLUSIVE")
    threading.Timer(2, lock.close).start()

    with tracker.stage("train"):
        pass

    assert [run.info.run_name for run in nested(client, tracker)] == ["shard", "train"]


@pytest.fixture
def locked_server() -> Iterator[str]:
    """A server that wants credentials."""

    class Locked(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, format: str, *words: object) -> None:  # noqa: A002  as above
            return

    server = HTTPServer(("127.0.0.1", 0), Locked)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_server_that_wants_credentials_is_left_to_mlflow(locked_server: str) -> None:
    check(locked_server)


def test_a_server_that_is_down_is_refused_with_the_way_out() -> None:
    with pytest.raises(
        UserError, match=r"No tracking server answers at http://127\.0\.0\.1:9 .*leave tracking\.uri out"
    ):
        check("http://127.0.0.1:9")


@pytest.mark.parametrize("uri", ["localhost:5000", "mlruns", "ftp://x", "sqlite:/x"])
def test_what_is_no_tracking_uri_is_answered_with_how_one_begins(uri: str) -> None:
    with pytest.raises(UserError, match="begins with none of http://"):
        check(uri)


def test_a_port_that_is_no_number_is_refused() -> None:
    with pytest.raises(UserError, match="No tracking server answers at http://host:port"):
        check("http://host:port")


def test_a_database_is_no_server() -> None:
    assert not is_server("sqlite:////x/mlflow.db")


@pytest.fixture
def failing_server() -> Iterator[str]:
    """A server that answers 500 to everything."""

    class Failing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(500)

        do_POST = do_GET  # noqa: N815  (the name that http.server looks for)

        def log_message(self, format: str, *words: object) -> None:  # noqa: A002  (the name of the base)
            return

    with HTTPServer(("127.0.0.1", 0), Failing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.slow
def test_a_server_that_answers_500_costs_two_lines_and_no_stage(
    settings: RunSettings, layout: Layout, failing_server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = replace(settings, tracking=TrackingSettings(uri=failing_server))

    with Tracker.open(settings, layout).stage("train"):
        points.append(layout.points, {"step": 1, "time": 1e9, "train/loss": 1.0})

    away, left = capsys.readouterr().err.splitlines()
    assert f"{failing_server} answers: MlflowException" in away
    assert f"1 points and 4 events did not reach {failing_server}" in left


CLOSED = "http://127.0.0.1:9"


def test_a_server_that_never_answered_is_refused_and_spooling_is_a_way_out(settings: RunSettings) -> None:
    settings = replace(settings, tracking=TrackingSettings(uri=CLOSED))

    with pytest.raises(UserError, match=r"With --tracking\.absent spool the run begins all the same"):
        refuse_absent(settings)
    refuse_absent(replace(settings, tracking=TrackingSettings(uri=CLOSED, absent="spool")))


def test_a_server_that_has_a_run_of_the_workspace_is_not_waited_for(
    settings: RunSettings, layout: Layout
) -> None:
    layout.folder.mkdir(parents=True)
    RunRecord(run_id="1", uri=CLOSED).write(layout.run)

    refuse_absent(replace(settings, tracking=TrackingSettings(uri=CLOSED)))
    with pytest.raises(UserError, match="No tracking server answers"):
        refuse_absent(replace(settings, tracking=TrackingSettings(uri="http://127.0.0.1:10")))


def test_spooling_does_not_excuse_what_is_no_address(settings: RunSettings) -> None:
    with pytest.raises(UserError, match="begins with none of http://"):
        refuse_absent(replace(settings, tracking=TrackingSettings(uri="host:5000", absent="spool")))
