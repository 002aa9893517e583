"""A real clock in a process of its own, and what it wrote."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipelines.schedule.records import Account, Schedules

ROOT = Path(__file__).parent.parent
PATIENCE = 240.0
"""Seconds; a busy machine takes a quarter of a minute to start one process."""


@dataclass
class ClockProcess:
    """`perceiver schedule ...` with these words."""

    process: "subprocess.Popen[str]"
    words: Path

    @classmethod
    def started(cls, folder: Path, *words: str | Path) -> "ClockProcess":
        said = folder / f"clock-{len(list(folder.glob('clock-*')))}.txt"
        command = [sys.executable, "-m", "pipelines", "schedule", *map(str, words)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "COLUMNS": "300"}
        with said.open("w") as file:
            process = subprocess.Popen(
                command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=file
            )
        return cls(process, said)

    @property
    def said(self) -> str:
        return self.words.read_text()

    def until_said(self, text: str, times: int = 1) -> None:
        self.until(lambda: self.said.count(text) >= times, text)

    def until(self, true: Callable[[], object], what: str = "") -> None:
        end = time.monotonic() + PATIENCE
        while not true():
            assert self.process.poll() is None, f"it has ended: {self.said}"
            assert time.monotonic() < end, f"{what} did not come: {self.said}"
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL it alone; its run goes on."""
        self.process.kill()
        self.process.communicate()

    def stopped(self) -> tuple[int, str]:
        """Its exit status and what it printed, after SIGTERM."""
        self.process.send_signal(signal.SIGTERM)
        printed, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, printed


def account(workspace: Path, name: str = "columns") -> Account:
    return Schedules.of(workspace).account(name)


def running(workspace: Path) -> int:
    """The process of the run under way; 0 where there is none."""
    found = account(workspace)
    return found.pid if found.result == "running" else 0


def over(workspace: Path, name: str = "columns") -> bool:
    """Whether no run is under way; one is recorded as running before it has a process."""
    return account(workspace, name).result != "running"


def sweep(clocks: list[ClockProcess], workspace: Path) -> None:
    """Kill what a failed test has left."""
    for clock in clocks:
        if clock.process.poll() is None:
            clock.kill()
    pid = running(workspace)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
