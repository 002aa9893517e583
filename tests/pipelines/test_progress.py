"""Where there is no terminal, progress is plain lines on stderr."""

import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from pipelines import progress


def test_lines_tell_what_is_done_of_how_much_and_leave_stdout_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0

    with progress.progress("shard", clock=lambda: now) as advance:
        advance(0, 1000, "")
        now = 0.5
        advance(1000, 1000, "2 refused")

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "shard: 1,000 of 1,000 samples, 2,000 samples/s, 2 refused\n"


def test_what_takes_no_time_has_no_rate(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0

    with progress.progress("verify", clock=lambda: now) as advance:
        advance(0, 1797, "")
        now = 0.4
        advance(1797, 1797, "")

    assert capsys.readouterr().err == "verify: 1,797 of 1,797 samples\n"


def test_lines_come_every_few_seconds_with_the_time_left_once_it_can_be_told(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0

    with progress.progress("train", clock=lambda: now) as advance:
        for second, done in enumerate((100, 101, 102, 103, 104, 105, 400, 700, 750, 800, 900, 1000, 1100)):
            now = float(second)
            advance(done, 2000, "loss 2.0")
        now = 17.0
        advance(1200, 2000, "")

    assert capsys.readouterr().err.splitlines() == [
        "train: 105 of 2,000 samples, 1 samples/s, loss 2.0",
        "train: 900 of 2,000 samples, 80 samples/s, loss 2.0",
        "train: 1,200 of 2,000 samples, 65 samples/s, 12 s left",
    ]


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left() -> None:
    script = """
import time
from pipelines.progress import progress
begin = time.monotonic()
with progress("shard", lambda: 30 * (time.monotonic() - begin)) as advance:  # seconds pass quickly
    for done in (0, 100, 500):
        advance(done, 1000, "half" if done else "")
        time.sleep(0.2)
"""
    shown = pty_output([sys.executable, "-c", script])

    assert re.search(r"shard .*500/1000.* samples/s, \d+ s left .*half", shown)


def pty_output(command: list[str]) -> str:
    """What a command shows on a terminal of 150 columns."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "150", "TERM": "xterm"}
    process = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the terminal is gone when the command has ended
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


def test_lines_do_not_come_for_every_step(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.progress("train") as advance:
        for done in range(999):
            advance(done, 1000, "")

    assert capsys.readouterr().err == ""
