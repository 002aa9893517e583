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
from pipelines.training import Curve

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


def test_points_come_back_in_their_order(tracker: Tracker) -> None:
    tracker.points(points(2, 1, 3))

    assert tracker.curves(["train/loss", "val/loss"]) == {
        "train/loss": [(1, 1.0), (2, 0.5), (3, 1 / 3)],
        "val/loss": [],
    }


def test_steps_that_a_restart_repeats_are_told_once(settings: RunSettings, tracker: Tracker) -> None:
    shown: list[int] = []

    def advance(done: int, total: int, note: str) -> None:
        shown.append(done)

    Curve(tracker, 120, settings, advance).take(points(1, 2, 3))
    Curve(tracker, 120, settings, advance).take(points(2, 3, 4) + points(4, name="val/loss"))

    assert [step for step, _ in tracker.curves(["train/loss"])["train/loss"]] == [1, 2, 3, 4]
    assert tracker.curves(["val/loss"])["val/loss"] == [(4, 0.25)]
    assert shown == [12, 24, 36, 24, 36, 48, 48]


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


def test_a_database_is_no_server() -> None:
    assert not is_server("sqlite:////x/mlflow.db")
