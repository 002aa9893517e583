"""What the clock says of a run that has ended."""

import json
from pathlib import Path

import pytest

from pipelines.schedule.clock import WAITS, verdict
from pipelines.schedule.outcome import REASON_CHARACTERS, ended_well, outcome

ALL = ["shard", "train", "evaluate", "register", "promote"]


def ran(stages: list[str], champion: bool = False, reason: str = "it is better") -> dict[str, object]:
    return {"model": "shapes", "version": 3, "champion": champion, "reason": reason, "ran": stages}


def sent(answer: object, status: str = "SUCCEEDED", seen: bool = True) -> dict[str, object]:
    return {"id": "shapes-1", "sent": seen, "seen": seen, "status": status, "answer": answer}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (ran([], champion=True), "nothing was new: shapes version 3 stays"),
        (ran(["shard"]), "only shard was to be done: shapes version 3 stays"),
        (ran(ALL, champion=True), "shapes version 3 is champion: it is better"),
        (ran(ALL, reason="too few samples"), "shapes version 3, not champion: too few samples"),
    ],
)
def test_what_mattered_is_said_of_a_run_and_of_a_job(answer: dict[str, object], words: str) -> None:
    assert outcome(answer) == words
    assert outcome(sent(answer)) == words


def test_of_a_job_that_had_succeeded_before_nothing_was_new_unless_its_tick_has_sent_it() -> None:
    before = sent(ran(ALL), seen=False)

    assert outcome(before) == "nothing was new: shapes version 3 stays"
    assert outcome(before, goes_on=True) == "shapes version 3, not champion: it is better"


def test_where_the_answer_is_gone_it_is_done_and_a_job_is_named() -> None:
    assert outcome({}) == "done"
    assert outcome(sent(None)) == "shapes-1 has done it"


def test_a_long_reason_is_cut() -> None:
    said = outcome(ran(ALL, reason="word " * 200))

    assert said.endswith(" ...")
    assert len(said) < REASON_CHARACTERS + 50


@pytest.mark.parametrize(
    ("answer", "status", "well"),
    [
        (ran([]), 0, True),
        (ran([]), None, True),
        (None, 0, True),
        (None, None, False),
        (None, 1, False),
        (sent({}), 0, True),
        (sent(None, "FAILED"), 1, False),
        (sent(None, "RUNNING"), 1, False),
        (sent(None, "RUNNING"), None, False),
    ],
)
def test_a_job_that_has_failed_or_goes_on_is_not_done_though_submit_has_answered(
    answer: dict[str, object] | None, status: int | None, well: bool
) -> None:
    assert ended_well(answer, status) == well


def test_a_job_that_failed_is_told_with_its_error(tmp_path: Path) -> None:
    log = tmp_path / "run.log"
    log.write_text("train: nothing is trained\nerror: the disk is full\n")
    log.with_suffix(".json").write_text(json.dumps(sent(None, "FAILED")))

    failed, stopped = verdict(log, 1, False), verdict(log, 1, True)

    assert (failed.result, failed.what) == ("failed", "the disk is full")
    assert stopped.result == "interrupted"
    assert stopped.what != WAITS
