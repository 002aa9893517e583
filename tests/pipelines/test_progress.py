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
    with progress.progress("shard") as advance:
        advance(0, 1000, "")
        advance(1000, 1000, "2 refused")

    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"shard: 1,000 of 1,000 samples, [\d,]+ samples/s, 2 refused\n", said.err)


def test_lines_come_every_few_seconds_with_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0

    with progress.progress("train", clock=lambda: now) as advance:
        advance(100, 1000, "")
        now = 6.0
        advance(400, 1000, "loss 2.0")

    assert capsys.readouterr().err == "train: 400 of 1,000 samples, 50 samples/s, 12 s left, loss 2.0\n"


def test_on_a_terminal_there_is_a_bar_with_rate_and_time_left() -> None:
    script = """
import time
from pipelines.progress import progress
with progress("shard") as advance:
    advance(0, 1000, "")
    time.sleep(0.2)
    advance(500, 1000, "half")
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
