"""How far a stage is, on stderr: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

Advance = Callable[[int, int, str], None]
"""Called with what is done, the total, and a note such as the loss."""

PLAIN_SECONDS = 5.0


@contextmanager
def progress(stage: str) -> Generator[Advance]:
    """Show how `stage` gets on, in samples, with their rate and the time left."""
    with _bar(stage) if sys.stderr.isatty() else _lines(stage) as advance:
        yield advance


@contextmanager
def _bar(stage: str) -> Generator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:9}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(stage, total=None, rate="", note="")
        begin: list[tuple[int, float]] = []

        def advance(done: int, total: int, note: str = "") -> None:
            rate = _rate(begin, done)
            bar.update(task, completed=done, total=total, rate=f"{rate:,.0f} samples/s", note=note)

        yield advance


@contextmanager
def _lines(stage: str) -> Generator[Advance]:
    begin: list[tuple[int, float]] = []
    said_at = time.monotonic()

    def advance(done: int, total: int, note: str = "") -> None:
        nonlocal said_at
        rate = _rate(begin, done)
        if time.monotonic() - said_at < PLAIN_SECONDS and done < total:
            return
        said_at = time.monotonic()
        left = f", {(total - done) / rate:,.0f} s left" if rate and done < total else ""
        say(
            f"{stage}: {done:,} of {total:,} samples, {rate:,.0f} samples/s{left}{', ' if note else ''}{note}"
        )

    yield advance


def _rate(begin: list[tuple[int, float]], done: int) -> float:
    """Samples a second since the first call, which may stand in the middle of a resumed run."""
    now = time.monotonic()
    if not begin:
        begin.append((done, now))
    first, since = begin[0]
    return (done - first) / (now - since) if now > since else 0.0


def say(text: str) -> None:
    """One line for the person at the terminal; stdout is kept for `--json`."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  the one place that prints
