"""The tracker on a real store: one run per training, whatever is started how often."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from cluster.mistake import UserError
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import Tracker, check, is_server

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture
def layout(settings: RunSettings) -> Layout:
    settings.root.mkdir()
    return Layout.of(settings, "0123456789abcdef")


@pytest.fixture
def tracker(settings: RunSettings, layout: Layout) -> Tracker:
    return Tracker.open(settings, layout)


def points(*steps: int, name: str = "train/loss") -> list[dict[str, float]]:
    return [{"step": step, "time": 1e9 + step, name: 1 / step} for step in steps]


def test_a_second_start_finds_the_first_ones_run(
    settings: RunSettings, layout: Layout, tracker: Tracker
) -> None:
    assert Tracker.open(settings, layout).run_id == tracker.run_id


def test_a_run_that_was_deleted_is_made_again(
    settings: RunSettings, layout: Layout, tracker: Tracker
) -> None:
    tracker.client.delete_run(tracker.run_id)

    assert Tracker.open(settings, layout).run_id != tracker.run_id


def test_the_store_tells_how_far_it_was_told(tracker: Tracker) -> None:
    tracker.points(points(2, 1, 3) + points(2, name="val/loss"))

    assert tracker.told() == {"train": 3, "val": 2}


def test_a_stage_that_fails_is_marked_so_and_a_later_one_mends_the_run(tracker: Tracker) -> None:
    with pytest.raises(ZeroDivisionError), tracker.stage("train"):
        raise ZeroDivisionError
    failed = tracker.client.get_run(tracker.run_id).info.status

    with tracker.stage("train"):
        pass

    assert failed == "FAILED"
    assert tracker.client.get_run(tracker.run_id).info.status == "FINISHED"


def test_the_sharding_before_the_run_is_nested_under_it(settings: RunSettings, layout: Layout) -> None:
    layout.folder.mkdir(parents=True)
    layout.sharding.write_text(json.dumps({"began": 1e9, "ended": 1e9 + 7.5}))

    tracker = Tracker.open(settings, layout)

    (nested,) = tracker.client.search_runs(
        [tracker.experiment_id], f"tags.mlflow.parentRunId = '{tracker.run_id}'"
    )
    assert nested.info.run_name == "shard"
    assert nested.data.metrics == {"seconds": 7.5}


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
