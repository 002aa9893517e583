"""Shards are built in a process of their own, so that a decoder that hangs or crashes costs one file.

The process of the caller only watches. What a dead child decoded is refused, and the shard is built again
with that file known as refused: the bytes are those of a decoder that had refused it at once.
"""

import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from preprocessing.child import Child, Died
from preprocessing.isolated_child import Failed, Request
from preprocessing.plan import Work
from preprocessing.refusal import Refused
from preprocessing.settings import DataSettings

CRASHES = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGABRT,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
PROOF = 2  # Crashes at one file after which it is the file's fault, not that of what came before.
TRIES = 4  # Builds of one shard whose process may die without a file to blame.

HERE = threading.local()  # `child`: the one of this thread, kept from shard to shard; imports take 0.3 s.


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What decoding one file may take."""

    seconds: float
    """CPU seconds."""
    gibibytes: float
    """Memory of the process that decodes."""


@dataclass
class Blame:
    """What is known of one shard's files from the processes that died of them."""

    limits: Limits
    told: dict[str, Refused] = field(default_factory=dict)
    crashes: Counter[str] = field(default_factory=Counter)
    unexplained: int = 0

    def learn(self, died: Died) -> None:
        """Blame a file, suspect it, or none.

        Raises:
            RuntimeError: the processes die, and no file explains it.
        """
        if died.path in self.told:
            raise RuntimeError(f"{died.path!r} was decoded although it is known as refused")
        if died.overran:
            self.told[died.path] = Refused("timeout", overrun(self.limits.seconds))
        elif died.path and crashed(died.status):
            self.crashes[died.path] += 1
            if self.crashes[died.path] == PROOF:
                self.told[died.path] = Refused("crashed", f"its decoder {ending(died.status)}")
        else:
            self.unexplained += 1
            if self.unexplained == TRIES:
                raise RuntimeError(
                    f"The process that decodes was ended {TRIES} times before its shard was finished, the "
                    f"last time it {ending(died.status)}, and no file is to blame. SIGKILL without an "
                    f"operator means that the machine ran out of memory: lower data.decoder_memory (now "
                    f"{self.limits.gibibytes:g} GiB), or let fewer tasks run beside each other."
                )


def build_isolated(work: Work, settings: DataSettings, place: str) -> dict[str, Any]:
    """`build.build_shard` in this thread's child process; its result, or what it raised.

    Raises:
        RuntimeError: the child died again and again without a file to blame.
    """
    limits = Limits(seconds=settings.decoder_seconds, gibibytes=settings.decoder_memory)
    return supervised("preprocessing.build:build_shard", (work, settings, place), limits)


def supervised(function: str, arguments: tuple[Any, ...], limits: Limits) -> Any:
    """Call `module:name` in the child process until it comes back, with the files it died of told to it."""
    blame = Blame(limits)
    while True:
        request = Request(
            function=function,
            arguments=arguments,
            told=blame.told,
            memory=int(limits.gibibytes * 2**30),
        )
        outcome = child().call(request, limits.seconds)
        if isinstance(outcome, Failed):
            raise outcome.error
        if not isinstance(outcome, Died):
            return outcome.result
        blame.learn(outcome)


def child() -> Child:
    """This thread's child process, started where there is none yet or none any more."""
    present: Child | None = getattr(HERE, "child", None)
    if present is None or not present.usable():
        present = HERE.child = Child()
    return present


def crashed(status: int) -> bool:
    """Whether a decoder can have done this, by a fault or by `exit`: other signals come from outside."""
    return status >= 0 or -status in CRASHES


def ending(status: int) -> str:
    """How a process ended, in words."""
    return f"crashed with {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"


def overrun(seconds: float) -> str:
    """The same words whether it ran or slept: the quarantine is equal on a busy machine and an idle one."""
    return f"its decoder did not end within data.decoder_seconds ({seconds:g})"
