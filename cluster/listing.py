"""All keys below a prefix, as fast as the server gives them, a few pages in memory at a time."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cluster.s3 import Gateway

AT_ONCE = 8
"""Requests under way at a time."""
SPANS = 4 * AT_ONCE
"""Parts that the keys are cut into, so that a large one does not keep one request busy alone for long."""
DEPTH = 4
"""Levels of folders that are looked at to find where to cut."""


@dataclass(frozen=True)
class Span:
    """The keys after `after`, up to and with `last`."""

    after: str
    last: str | None


def listed(gateway: Gateway, prefix: str) -> Iterator[Any]:
    """What the server says of each key below `prefix`, in any order.

    Keys are listed in the order of their bytes, a page after the other; to get at several pages at once the
    keys are cut, at the names of folders, into spans.
    """
    found, rest = page(gateway, prefix, Span("", None))
    yield from found
    if rest is None:
        return
    with ThreadPoolExecutor(AT_ONCE) as pool:
        spans = iter(cut(gateway, prefix, rest.after))
        running: set[Future[tuple[list[Any], Span | None]]] = set()
        while True:
            while len(running) < AT_ONCE and (span := next(spans, None)):
                running.add(pool.submit(page, gateway, prefix, span))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found, rest = future.result()
                if rest:
                    running.add(pool.submit(page, gateway, prefix, rest))
                yield from found


def page(gateway: Gateway, prefix: str, span: Span) -> tuple[list[Any], Span | None]:
    """The first page of a span, and what is left of it."""
    answer = gateway.ask("list_objects_v2", Prefix=prefix, **after(span.after))
    keys = answer.get("Contents", [])
    inside = [key for key in keys if span.last is None or key["Key"] <= span.last]
    if not answer["IsTruncated"] or len(inside) < len(keys):
        return inside, None
    return inside, Span(keys[-1]["Key"], span.last)


def cut(gateway: Gateway, prefix: str, start: str) -> list[Span]:
    """The keys below `prefix` after `start` in about `SPANS` parts."""
    found = [prefix]
    for _ in range(DEPTH):
        if len(found) < AT_ONCE:
            found = [name for one in found for name in (folders(gateway, one, start) or [one])]
    step = max(1, len(found) // SPANS)
    borders = [start, *sorted(name for name in found[::step] if name > start), None]
    return [Span(str(first), last) for first, last in pairwise(borders)]


def folders(gateway: Gateway, prefix: str, start: str) -> list[str]:
    """The first thousand folders directly below `prefix` that begin after `start`."""
    begin = after(start) if start.startswith(prefix) else {}
    answer = gateway.ask("list_objects_v2", Prefix=prefix, Delimiter="/", **begin)
    return [one["Prefix"] for one in answer.get("CommonPrefixes", [])]


def after(key: str) -> dict[str, str]:
    """The request's words for keys behind `key`."""
    return {"StartAfter": key} if key else {}
