"""Ends a rank that hangs, so that those who wait for it can begin anew; it leaves behind where it stood."""

import faulthandler
import time
from types import TracebackType
from typing import Self

from pipelines.settings import RunSettings

REARMED_SECONDS = 1.0
"""Each arming starts a thread of the C library, which is too much for every step."""


class Watchdog:
    """Counts down while it is armed; when it is through, the process ends with its threads' stacks on stderr.

    The countdown needs neither the interpreter's lock nor its memory: it also ends what hangs in a library.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.seconds = settings.cluster.hang_seconds
        self.armed_at = -REARMED_SECONDS

    def alive(self) -> None:
        """Begin counting anew."""
        if self.seconds and time.monotonic() - self.armed_at >= REARMED_SECONDS:
            self.armed_at = time.monotonic()
            faulthandler.dump_traceback_later(self.seconds + REARMED_SECONDS, exit=True)

    def __enter__(self) -> Self:
        self.alive()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        faulthandler.cancel_dump_traceback_later()
