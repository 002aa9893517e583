"""The table of stages counts what ran, what was found up to date, how long it took and why."""

from pipelines.tracking.history import table
from pipelines.tracking.lines import Line


def begun(number: str, stage: str, **tags: str) -> Line:
    return {"id": number, "kind": "begun", "stage": stage, "time": 1e9, "tags": tags}


def ended(of: str, status: str, seconds: float | None) -> Line:
    return {"id": f"end-{of}", "kind": "ended", "of": of, "status": status, "seconds": seconds, "time": 2e9}


def rows(*events: Line) -> dict[str, list[str]]:
    found = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(events).splitlines()[2:]]
    return {row[0]: row[1:] for row in found}


def test_runs_ends_and_seconds_add_up_over_attempts_and_kills() -> None:
    found = rows(
        begun("1", "train", attempt="1", reason="nothing is trained", lease="1"),
        ended("1", "FAILED", 5.0),
        begun("2", "train", attempt="2", reason="nothing is trained", lease="1"),
        ended("2", "KILLED", None),
        begun("3", "train", attempt="1", reason="it was interrupted | twice\nnow", lease="2"),
        ended("3", "FINISHED", 7.4),
    )

    ran, finished, up_to_date, seconds, last = found["train"]
    assert (ran, finished, up_to_date, seconds) == ("3", "1", "0", "12")
    assert last.endswith("finished: it was interrupted / twice now")


def test_a_stage_that_was_up_to_date_is_counted_once_a_command() -> None:
    found = rows(
        begun("1", "shard"),
        ended("1", "FINISHED", 1.0),
        begun("2", "evaluate", lease="4", up_to_date="shard, train"),
        begun("3", "register", lease="4", up_to_date="shard, train"),
        begun("4", "register", lease="5", up_to_date="shard, train, evaluate"),
    )

    assert [found[name][2] for name in ("shard", "evaluate", "register")] == ["2", "1", "0"]
    assert found["register"][4].endswith("at work")
