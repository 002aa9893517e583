"""A process that hangs ends and says where; one that gets on does not."""

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from groups import SECONDS, forked

from cluster.settings import ClusterSettings
from pipelines.settings import RunSettings
from pipelines.training.watchdog import Watchdog
from preprocessing.settings import DataSettings

pytestmark = pytest.mark.slow

SETTINGS = RunSettings(name="hung", data=DataSettings(raw="raw"), cluster=ClusterSettings(hang_seconds=0.5))
"""Ends what is silent for 1.5 s."""


def in_a_process(work: object, path: Path, settings: RunSettings = SETTINGS) -> int | None:
    """The exit code of a process whose stderr is this file."""
    process = forked(run, work, path, settings)
    process.join(SECONDS)
    return process.exitcode


def run(work: object, path: Path, settings: RunSettings) -> None:
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), 2)
    with Watchdog(settings) as watchdog:
        work(watchdog)  # pyright: ignore[reportCallIssue]
    time.sleep(2.0)  # Outside of it nobody counts.
    os._exit(7)


def hang(watchdog: Watchdog) -> None:
    watchdog.alive()
    time.sleep(30)


def get_on(watchdog: Watchdog) -> None:
    until = time.monotonic() + 8
    while time.monotonic() < until:
        time.sleep(0.05)
        watchdog.alive()


def test_what_hangs_ends_with_the_stacks_of_its_threads(tmp_path: Path) -> None:
    ended = in_a_process(hang, tmp_path / "stderr")

    text = (tmp_path / "stderr").read_text()
    assert ended == 1
    assert text.startswith("Timeout (0:00:01.500000)!")
    assert "test_watchdog.py" in text
    assert "in hang" in text


def test_what_gets_on_is_left_alone_and_so_is_what_comes_after(tmp_path: Path) -> None:
    settings = replace(SETTINGS, cluster=ClusterSettings(hang_seconds=4.5))

    assert in_a_process(get_on, tmp_path / "stderr", settings) == 7
    assert not (tmp_path / "stderr").read_text()


def test_without_a_bound_it_may_take_for_ever(tmp_path: Path) -> None:
    settings = replace(SETTINGS, cluster=ClusterSettings(hang_seconds=0.0))

    assert in_a_process(pause, tmp_path / "stderr", settings) == 7


def pause(watchdog: Watchdog) -> None:
    watchdog.alive()
    time.sleep(2.5)
