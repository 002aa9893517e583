"""Where there is no terminal, progress is plain lines on stderr."""

import pytest

from pipelines import progress


def test_lines_tell_what_is_done_of_how_much_and_leave_stdout_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with progress.progress("shard") as advance:
        advance(0, 1000, "")
        advance(1000, 1000, "2 refused")

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("shard: 1,000 of 1,000 samples, ")
    assert said.err.endswith("2 refused\n")


def test_lines_do_not_come_for_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress("train") as advance:
        for done in range(999):
            advance(done, 1000, "")

    assert capsys.readouterr().err == ""
