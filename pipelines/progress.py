"""What a command says: how far a stage is, warnings and errors on stderr, the answer to a question on stdout.

Progress is a bar on a terminal, plain lines elsewhere.
"""

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Advance = Callable[[int, int, str], None]
"""Called with what is done, the total, and a note such as the loss."""

Clock = Callable[[], float]
"""Seconds from any beginning."""

PLAIN_SECONDS = 5.0
RATE_SECONDS = 0.5
"""What took less is done, and has no rate that means anything."""
LEFT_SECONDS, LEFT_REPORTS = 5.0, 2
"""The first samples wait for processes, compilers and caches: they alone do not tell how long it takes."""

_answering = ContextVar("answering", default=False)
"""Whether what this thread says is the answer that was asked for."""


@contextmanager
def progress(stage: str, clock: Clock = time.monotonic) -> Generator[Advance]:
    """Show how `stage` gets on, in samples, with their rate and the time left."""
    with _bar(stage, clock) if sys.stderr.isatty() else _lines(stage, clock) as advance:
        yield advance


@contextmanager
def _bar(stage: str, clock: Clock) -> Generator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(stage, total=None, pace="", note="")
        pace = _Pace(clock)

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, pace=pace.words(done, total), note=note)
            pace.reports += 1

        yield advance


@contextmanager
def _lines(stage: str, clock: Clock) -> Generator[Advance]:
    pace, said_at = _Pace(clock), clock()

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal said_at
        words = pace.words(done, total)
        if clock() - said_at < PLAIN_SECONDS and done < total:
            return
        said_at = clock()
        pace.reports += 1
        warn(", ".join(part for part in (f"{stage}: {done:,} of {total:,} samples", words, note) if part))

    yield advance


@dataclass
class _Pace:
    """Samples a second since the first call, which may stand in the middle of a run, and the time left."""

    clock: Clock
    begin: tuple[int, float] | None = None
    reports: int = 0
    """How often the person was told."""

    def words(self, done: int, total: int) -> str:
        """As much of it as can be told by now."""
        now = self.clock()
        if self.begin is None:
            self.begin = (done, now)
        first, since = self.begin
        if done == first or now - since < RATE_SECONDS:
            return ""
        rate = (done - first) / (now - since)
        known = now - since >= LEFT_SECONDS and self.reports >= LEFT_REPORTS
        left = f", {(total - done) / rate:,.0f} s left" if done < total and known else ""
        return f"{rate:,.0f} samples/s{left}"


class UnheardError(Exception):
    """Whoever reads stdout has gone, as `head` does: what there is to say interests nobody any more."""


def say(text: str) -> None:
    """One line for the person at the terminal: on stderr, or on stdout where it is the answer."""
    if _answering.get():
        tell(text)
    else:
        warn(text)


def warn(text: str) -> None:
    """One line that is no part of an answer, on stderr."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  `warn` and `tell` are all that prints


def tell(text: str) -> None:
    """What was asked for, on stdout.

    Raises:
        UnheardError: nobody reads it.
    """
    with heard():
        print(text)  # noqa: T201  `warn` and `tell` are all that prints


@contextmanager
def heard() -> Generator[None]:
    """What is printed meanwhile reaches who reads stdout.

    Raises:
        UnheardError: nobody does.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        # What is left in the buffer would be tried again at the end, and complained of.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UnheardError from error


@contextmanager
def answering() -> Generator[None]:
    """What is said meanwhile, by this thread, is the answer."""
    before = _answering.set(True)
    try:
        yield
    finally:
        _answering.reset(before)
