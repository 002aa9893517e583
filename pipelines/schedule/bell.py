"""Waits for a signal, the end of a process or a moment, whichever comes first, and sleeps until then."""

import os
import select
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@dataclass
class Bell:
    """Rung by SIGTERM, Ctrl-C, and by the terminal that is closed."""

    ear: int
    """Where a byte comes for each signal, so that none is slept through."""
    rung: list[str] = field(default_factory=list[str])
    """Names of the signals that came."""

    @classmethod
    @contextmanager
    def hung(cls) -> Generator["Bell"]:
        """Meanwhile these signals ring it and do nothing else."""
        ear, mouth = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        bell = cls(ear)

        def ring(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
            bell.rung.append(signal.Signals(number).name)

        # One that was told to ignore the terminal's end (nohup) goes on ignoring it.
        heard = [one for one in SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
        before: dict[signal.Signals, Any] = {number: signal.signal(number, ring) for number in heard}
        woken = signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(ear)
            os.close(mouth)

    def wait(self, seconds: float, process: int | None = None) -> bool:
        """Sleep so long at most; whether the process with this handle (a pidfd) has ended."""
        poll = select.poll()
        poll.register(self.ear, select.POLLIN)
        if process is not None:
            poll.register(process, select.POLLIN)
        ready = [handle for handle, _ in poll.poll(max(seconds, 0) * 1000)]
        with suppress(BlockingIOError):
            os.read(self.ear, 1024)
        return process in ready
