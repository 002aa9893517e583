"""All keys below a prefix, as fast as the server gives them, a few pages in memory at a time."""

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cluster.s3 import Gateway

ALONE = 4
"""Pages that are listed one after the other, before it is worth while to look where to cut."""
AT_ONCE = 8
"""Requests under way at a time."""
SPANS = 4 * AT_ONCE
"""Parts that the keys are cut into, so that a large one does not keep one request busy alone for long."""
DEPTH = 4
"""Levels of folders that are looked at to find where to cut."""
LOOK = 100
"""Names that are looked at in each of these folders."""


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
    rest: Span | None = Span("", None)
    for _ in range(ALONE):
        if rest is None:
            return
        found, rest = page(gateway, prefix, rest)
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
    found, deepest = [prefix], [prefix]
    for _ in range(DEPTH):
        if deepest and len(found) < AT_ONCE:
            deepest = [name for one in deepest for name in folders(gateway, one, start)]
            found += deepest
    ahead = sorted(name for name in found if name > start)
    borders = [start, *ahead[:: max(1, len(ahead) // SPANS)], None]
    return [Span(str(first), last) for first, last in pairwise(borders)]


def folders(gateway: Gateway, prefix: str, start: str) -> list[str]:
    """The first folders directly below `prefix` that do not lie before `start`."""
    begin = after(start) if start.startswith(prefix) else {}
    answer = gateway.ask("list_objects_v2", Prefix=prefix, Delimiter="/", MaxKeys=LOOK, **begin)
    return [one["Prefix"] for one in answer.get("CommonPrefixes", [])]


def after(key: str) -> dict[str, str]:
    """The request's words for keys behind `key`."""
    return {"StartAfter": key} if key else {}
