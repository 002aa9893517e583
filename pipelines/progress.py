"""How far a stage is, on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

Advance = Callable[[int, int, str], None]
"""Called with what is done, the total, and a note such as the loss."""

Clock = Callable[[], float]
"""Seconds from any beginning."""

PLAIN_SECONDS = 5.0


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
        begin: list[tuple[int, float]] = []

        def advance(done: int, total: int, note: str = "") -> None:
            bar.update(task, completed=done, total=total, pace=_pace(begin, clock(), done, total), note=note)

        yield advance


@contextmanager
def _lines(stage: str, clock: Clock) -> Generator[Advance]:
    begin: list[tuple[int, float]] = []
    said_at = clock()

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal said_at
        pace = _pace(begin, clock(), done, total)
        if clock() - said_at < PLAIN_SECONDS and done < total:
            return
        said_at = clock()
        say(", ".join(part for part in (f"{stage}: {done:,} of {total:,} samples", pace, note) if part))

    yield advance


def _pace(begin: list[tuple[int, float]], now: float, done: int, total: int) -> str:
    """Samples a second since the first call, which may stand in the middle of a run, and the time left."""
    if not begin:
        begin.append((done, now))
    first, since = begin[0]
    if done == first or now == since:
        return ""
    rate = (done - first) / (now - since)
    left = f", {(total - done) / rate:,.0f} s left" if done < total else ""
    return f"{rate:,.0f} samples/s{left}"


def say(text: str) -> None:
    """One line for the person at the terminal; stdout is kept for `--json`."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the one place that prints
