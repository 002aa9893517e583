"""Whatever is killed or away in between, the store ends with each value once, each stage once, in one run."""

import fcntl
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from memory_mlflow import Cut, KilledError, MemoryClient

from pipelines.layout import Layout
from pipelines.tracking import journal, lines
from pipelines.tracking.journal import RunRecord, Untold
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.telling import Teller, telling

GOOD = "http://tracker"


def store(client: Any) -> Store:
    return Store(client=client, uri=GOOD, root=Path("nowhere"))


def begin(layout: Layout) -> Layout:
    layout.folder.mkdir(parents=True)
    RunRecord().write(layout.run)
    journal.write(
        layout, "run", experiment="things", name="a run", params={"seed": "0"}, files={"a.toml": "seed = 0"}
    )
    return layout


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return begin(Layout(tmp_path / "training", "nowhere"))


def point(layout: Layout, step: int, kind: str = "train", value: float = 1.0, time: float = 1e9) -> None:
    lines.append(layout.points, {"step": step, "time": time, f"{kind}/loss": value, f"{kind}/rate": 0.1})


def stage(layout: Layout, name: str) -> None:
    begun = journal.write(layout, "begun", stage=name)
    journal.write(layout, "ended", of=begun, status="FINISHED", seconds=1.5)


def rows(client: MemoryClient) -> list[tuple[str, int]]:
    (run,) = [run for run in client.active() if "mlflow.parentRunId" not in run.data.tags]
    return [(row.key, row.step) for row in client.rows[run.info.run_id]]


def stages(client: MemoryClient) -> list[tuple[str, str]]:
    return [(run.data.tags["stage"], run.info.status) for run in client.active() if "stage" in run.data.tags]


CUT = some.tuples(
    some.just("cut"), some.integers(0, 25), some.booleans(), some.sampled_from([KilledError, OSError])
)
POINT = some.tuples(some.just("point"), some.integers(1, 6), some.sampled_from(["train", "val", "system"]))
STAGE = some.tuples(some.just("stage"), some.sampled_from(["train", "evaluate"]))
FIGURES = some.tuples(some.just("figures"), some.integers(1, 6))
FORGET = some.tuples(some.just("forget"))


@given(some.lists(some.one_of(CUT, POINT, STAGE, FIGURES, FORGET), max_size=25))
def test_whatever_is_cut_off_each_value_and_each_stage_is_there_once(
    tmp_path_factory: pytest.TempPathFactory, happenings: list[Any]
) -> None:
    layout = begin(Layout(tmp_path_factory.mktemp("told") / "training", "nowhere"))
    client, expected, done = MemoryClient(), set[tuple[str, int]](), list[str]()
    teller = Teller(layout, lambda: store(client))
    for number, (what, *how) in enumerate(happenings):
        if what == "point":
            step, kind = how
            point(layout, step, kind, value=number, time=number)
            expected |= {(f"{kind}/loss", step), (f"{kind}/rate", step)}
        elif what == "figures":
            journal.write(layout, "figures", step=how[0], metrics={"test/loss": number})
            expected.add(("test/loss", how[0]))
        elif what == "stage":
            stage(layout, how[0])
            done.append(how[0])
        elif what == "forget":  # the process is started again
            teller = Teller(layout, lambda: store(client))
        else:
            calls, after, error = how
            cut = Cut(client, calls, after=after, how=error)
            teller.store = store(cut)
            try:
                teller.tell()
            except OSError:
                teller.store = None
            except KilledError:
                teller = Teller(layout, lambda: store(client))
            else:
                teller.store = store(client)

    Teller(layout, lambda: store(client)).tell()

    assert Counter(rows(client)) == Counter(expected)
    assert stages(client) == [(name, "FINISHED") for name in done]
    assert not Untold.of(layout)


def test_what_a_restart_repeats_counts_as_it_was_first(layout: Layout) -> None:
    client = MemoryClient()
    for step, value in [(1, 0.5), (2, 0.4), (1, 0.9), (2, 0.8), (3, 0.3)]:
        point(layout, step, value=value)

    Teller(layout, lambda: store(client)).tell()

    (run,) = client.active()
    assert [(row.step, row.value) for row in client.rows[run.info.run_id] if row.key == "train/loss"] == [
        (1, 0.5), (2, 0.4), (3, 0.3),
    ]  # fmt: skip


def test_a_run_that_a_stopped_server_made_late_is_taken_away(layout: Layout) -> None:
    client = MemoryClient()
    teller = Teller(layout, lambda: store(client))
    teller.tell()
    (event,) = lines.read(layout.journal)[0]
    twin = client.create_run("0", 0, {"event": event["id"]}, "a run").info.run_id
    point(layout, 1)

    Teller(layout, lambda: store(client)).tell()

    assert client.runs[twin].info.lifecycle_stage == "deleted"
    assert rows(client) == [("train/loss", 1), ("train/rate", 1)]


def test_a_run_that_was_deleted_is_made_again_and_told_everything(layout: Layout) -> None:
    client = MemoryClient()
    point(layout, 1)
    stage(layout, "train")
    teller = Teller(layout, lambda: store(client))
    teller.tell()
    client.delete_run(teller.run_id)
    stage(layout, "evaluate")

    Teller(layout, lambda: store(client)).tell()

    assert rows(client) == [("train/loss", 1), ("train/rate", 1)]
    assert sorted(stages(client)) == [("evaluate", "FINISHED"), *[("train", "FINISHED")] * 2]


class Picky(MemoryClient):
    """Takes no metric with a colon in its name."""

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

        if any(":" in metric.key for metric in metrics):
            raise MlflowException("Invalid metric name", INVALID_PARAMETER_VALUE)
        super().log_batch(run_id, metrics, params)


def test_a_metric_that_the_store_never_takes_costs_itself_alone(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Picky()
    lines.append(layout.points, {"step": 1, "time": 1e9, "gpu:0": 1.0, "train/loss": 2.0})
    stage(layout, "train")

    Teller(layout, lambda: store(client)).tell()

    assert rows(client) == [("train/loss", 1)]
    assert stages(client) == [("train", "FINISHED")]
    assert "passed over gpu:0 at step 1: " in capsys.readouterr().err


def test_a_picture_that_is_gone_does_not_keep_the_rest_back(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MemoryClient()
    journal.write(layout, "picture", path=str(layout.folder / "gone.png"))
    stage(layout, "train")

    Teller(layout, lambda: store(client)).tell()

    assert "gone.png is gone" in capsys.readouterr().err
    assert stages(client) == [("train", "FINISHED")]


def away() -> Store:
    raise ConnectionError("nobody there")


def test_a_tracker_that_stays_away_costs_a_word_and_not_the_training(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    with telling(Teller(layout, away), "sqlite:///x", 1.5, "perceiver tell RUN.toml"):
        point(layout, 1)

    said = capsys.readouterr().err
    assert said.count("ConnectionError: nobody there") == 1, "once, and not at each try"
    assert f"1 points and 1 events did not reach sqlite:///x; they are kept in {layout.folder}" in said
    assert "`perceiver tell RUN.toml` tells them" in said


def test_a_tracker_that_comes_back_gets_everything_and_the_person_hears_of_it(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    client, tries = MemoryClient(), list[int]()

    def connect() -> Store:
        tries.append(1)
        return away() if len(tries) < 3 else store(client)

    with telling(Teller(layout, connect), "sqlite:///x", 30, "perceiver tell RUN.toml"):
        point(layout, 1)

    assert rows(client) == [("train/loss", 1), ("train/rate", 1)]
    assert capsys.readouterr().err.count("sqlite:///x is back") == 1


def test_of_two_drivers_one_tells_and_the_other_says_which(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MemoryClient()
    with layout.teller.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write("process 1 on elsewhere")
        other.flush()

        with telling(Teller(layout, lambda: store(client)), "sqlite:///x", 30, "perceiver tell RUN.toml"):
            point(layout, 1)

    assert "process 1 on elsewhere tells sqlite:///x about this training" in capsys.readouterr().err
    assert not client.runs


def test_a_thread_of_the_stage_before_that_waits_for_an_answer_is_waited_for(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    client = MemoryClient()
    with layout.teller.open("w") as before:
        fcntl.flock(before, fcntl.LOCK_EX)
        before.write(journal.author())
        before.flush()
        with telling(Teller(layout, lambda: store(client)), "sqlite:///x", 30, "perceiver tell RUN.toml"):
            point(layout, 1)
            threading.Timer(0.3, before.close).start()

    assert rows(client) == [("train/loss", 1), ("train/rate", 1)]
    assert capsys.readouterr().err == ""
