"""What a command and the ranks that it starts say to each other: stop, and why a rank will not go on.

They share the workspace alone, so it is files of a folder there. SIGTERM and Ctrl-C ask the ranks to save and
stop, and then the command ends.
"""

import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import uuid4

from cluster.mistake import UserError
from cluster.storage import write_whole
from pipelines.progress import say

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StoppedError(KeyboardInterrupt):
    """The training was stopped from outside; what it had learnt is saved."""


class LostError(Exception):
    """The training could not be kept running."""


@dataclass(frozen=True)
class Desk:
    """The folder of one command, gone when it ends."""

    folder: Path

    @classmethod
    @contextmanager
    def below(cls, place: Path) -> Generator["Desk"]:
        """A new one; those that killed commands of this machine have left are swept."""
        place.mkdir(parents=True, exist_ok=True)
        mine = f".desk-{socket.gethostname()}-"
        for leftover in place.glob(f"{mine}*"):
            if not Path("/proc", leftover.name.removeprefix(mine).partition("-")[0]).exists():
                shutil.rmtree(leftover, ignore_errors=True)
        folder = place / f"{mine}{os.getpid()}-{uuid4().hex}"
        folder.mkdir()
        try:
            yield cls(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def stop(self) -> Path:
        """There when the training is to stop."""
        return self.folder / "stop"

    def note(self, text: str) -> None:
        """Say something to the person at the command."""
        try:
            write_whole(self.folder / f"note-{time.time_ns()}-{uuid4().hex}", text.encode())
        except FileNotFoundError:
            pass  # the command has ended, nobody listens
        except OSError:
            say(text)  # the disk is full, of which this may be the word: then it stands in this rank's log

    def notes(self) -> Iterator[str]:
        """What has been said since the last call."""
        for path in sorted(self.folder.glob("note-*")):
            yield path.read_text()
            path.unlink()

    def new_start(self) -> "Start":
        """For one start of all ranks: one that is overtaken, and thaws, has no say in a later one."""
        folder = self.folder / f"start-{uuid4().hex}"
        folder.mkdir()
        return Start(folder)


@dataclass(frozen=True)
class Start:
    """What concerns one start of all ranks."""

    folder: Path

    @property
    def records(self) -> Path:
        """A folder that all nodes see, which Ray Train wants for records that nothing here reads."""
        return self.folder / "records"

    def leave_refusal(self, text: str) -> None:
        """Say why a rank will not go on; the first one is kept."""
        with suppress(OSError):  # the command has ended, or the disk is full: the error itself is raised too
            if not (self.folder / "refusal").exists():
                write_whole(self.folder / "refusal", text.encode())

    def refuse(self) -> None:
        """Hand on what a rank left.

        Raises:
            UserError: there is something.
        """
        with suppress(FileNotFoundError):
            raise UserError((self.folder / "refusal").read_text())


@contextmanager
def stop_request(path: Path) -> Generator[None]:
    """Meanwhile, the first of these signals makes the file `path`, for which the ranks look.

    The second one is a KeyboardInterrupt.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread hears of signals
        return

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if path.exists():
            raise KeyboardInterrupt
        path.touch()
        say(f"{signal.Signals(number).name}: a checkpoint is taken, then it stops; once more stops at once")

    before: dict[signal.Signals, Any] = {number: signal.signal(number, ask) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
