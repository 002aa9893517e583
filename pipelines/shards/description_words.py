"""What shards hold, as lines for a terminal."""

from collections.abc import Iterator, Sequence

from preprocessing.describing import Description, Stored
from preprocessing.settings import SPLITS

NAMED_CLASSES = 40
"""Classes that are listed; of more, the largest."""


def in_words(description: Description) -> Iterator[str]:
    """All of it, a table for each side of it."""
    samples = sum(description.samples.values())
    parent = f", parent {description.parent[:12]}" if description.parent else ""
    yield f"{description.place}: {samples:,} samples, version {description.digest[:12]}{parent}"
    yield from _table("class", [*SPLITS, "all"], list(_classes(description)))
    heads = ["dtype", "arrays", "size", "shapes", "least", "median", "most"]
    stored = [(name, *_stored(one)) for name, one in description.modalities.items()]
    yield from _table("modality", heads, stored)
    yield from _table("generation", ["samples", "shards", "size", "decoders"], [
        (f"{one.number}", f"{one.samples:,}", f"{one.shards:,}", size(one.bytes),
         ", ".join(dict.fromkeys(one.decoders.values())))
        for one in description.generations
    ])  # fmt: skip
    if description.quarantine:
        rows = [
            (one.reason, f"{one.inputs:,}", f"{one.example}: {one.detail}") for one in description.quarantine
        ]
        yield from _table("refused", ["inputs", "for example"], rows)
    if len(description.versions) > 1:
        rows = [
            (one.digest[:12], one.parent[:12] or "none", f"{one.samples:,}") for one in description.versions
        ]
        yield from _table("version", ["parent", "samples"], rows)


def _classes(description: Description) -> Iterator[Sequence[str]]:
    """The classes, all or the largest, and all together."""
    largest = sorted(description.classes, key=lambda name: -sum(description.classes[name].values()))
    listed = set(largest[:NAMED_CLASSES])
    for name, counts in description.classes.items():
        if name in listed:
            yield _row(name, list(counts.values()))
    if len(largest) > NAMED_CLASSES:
        rest = [description.classes[name] for name in largest[NAMED_CLASSES:]]
        yield _row(f"{len(rest):,} smaller ones", [sum(one[split] for one in rest) for split in SPLITS])
    yield _row("all", [description.samples[split] for split in SPLITS])


def _row(name: str, counts: Sequence[int]) -> Sequence[str]:
    return name, *(f"{count:,}" for count in (*counts, sum(counts)))


def _stored(stored: Stored) -> Sequence[str]:
    shapes = (" x ".join(map(str, shape)) for shape in (stored.least, stored.median, stored.most))
    return stored.dtype, f"{stored.arrays:,}", size(stored.bytes), f"{stored.shapes:,}", *shapes


def _table(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines in columns: names to the left, numbers to the right, what has words in it as it comes."""
    whole = [(name, *heads), *rows]
    widths = [max(len(row[column]) for row in whole) for column in range(len(heads) + 1)]
    yield ""
    for row in whole:
        cells = [row[0].ljust(widths[0])]
        for column in range(1, len(row)):
            wordy = any(" " in one[column] and one[column][0].isalpha() for one in rows)
            cells.append(row[column] if wordy else row[column].rjust(widths[column]))
        yield f"  {'  '.join(cells)}"


def size(count: int) -> str:
    """Bytes for a person."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}"
        amount /= 1024
    return f"{amount:,.3g} TiB"
