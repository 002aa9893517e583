"""A run as a process of its own, which ends by itself even if the clock that began it is gone."""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.processes import born

HELD = "is at work already"
"""What pipelines.lease says when it refuses: a run's exit status does not tell that from a mistake."""
GATE = 'read go && exec "$@" </dev/null'
"""A run begins once it is told to; if its clock dies before that, it ends: it never runs unrecorded."""


@dataclass
class Child:
    """A run under way."""

    pid: int
    born: int
    handle: int
    """A pidfd: it becomes readable when the process has ended, whoever its parent is."""
    process: "subprocess.Popen[bytes] | None" = None
    """None for one that another clock has begun."""

    @classmethod
    def at_gate(cls, command: Sequence[str], folder: Path, log: Path) -> "Child":
        """The process, which waits for `go`; its words go to `log`, its answer beside it."""
        with log.open("ab") as words, log.with_suffix(".json").open("wb") as answer:
            # A session of its own: Ctrl-C at the terminal reaches it once, through the clock, and the
            # kernel sends it no SIGHUP when the clock or the terminal is gone.
            process = subprocess.Popen(
                ["sh", "-c", GATE, "sh", *command], cwd=folder, stdin=subprocess.PIPE, stdout=answer,
                stderr=words, start_new_session=True,
            )  # fmt: skip
        return cls(process.pid, born(process.pid) or 0, os.pidfd_open(process.pid), process)

    @classmethod
    def adopted(cls, host: str, pid: int, since: int) -> "Child | None":
        """The process that another clock has begun, if it lives on this machine."""
        if host != socket.gethostname() or not pid:
            return None
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return None
        if born(pid) == since:
            return cls(pid, since, handle)
        os.close(handle)
        return None

    def go(self) -> None:
        """Let it begin."""
        assert self.process
        assert self.process.stdin
        with suppress(BrokenPipeError):  # it was killed at the gate
            self.process.stdin.write(b"go\n")
            self.process.stdin.close()

    def stop(self) -> None:
        """Have it take a checkpoint and stop; the second time it stops at once."""
        # SIGINT, because outside of training SIGTERM would end it without a chance to close Ray's session.
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGINT)

    def status(self) -> int | None:
        """The exit status of one that has ended; None where only its parent was told."""
        os.close(self.handle)
        return self.process.wait() if self.process else None


def answer(log: Path) -> dict[str, Any] | None:
    """The object that a run which ended well, or `submit` however its job ended, has printed."""
    try:
        found: Any = json.loads(log.with_suffix(".json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def last_words(log: Path) -> str:
    """What a run said in the end: its error, else its last line."""
    lines = [line.strip() for line in _text(log).splitlines() if line.strip()]
    begun = [number for number, line in enumerate(lines) if line.startswith("error: ")]
    return (
        " ".join(lines[begun[-1] :]).removeprefix("error: ") if begun else (lines or ["it said nothing"])[-1]
    )


def found_held(log: Path) -> bool:
    """Whether a run was refused because another one is at work on the workspace."""
    return HELD in last_words(log)


def began_training(log: Path) -> bool:
    """Whether a run got as far as training."""
    lines = _text(log).splitlines()
    return any(line.startswith("train: ") and not line.startswith("train: up to date") for line in lines)


def _text(log: Path) -> str:
    try:
        return log.read_text(errors="replace")
    except OSError:
        return ""
