"""Rows of a table as lines of a terminal, however narrow: side by side, wrapped, or one below the other."""

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from textwrap import wrap

GAP = 2
NARROW = 14
"""Columns of fewer characters are harder to read than values below each other."""


def lines(tables: Mapping[str, Mapping[str, Sequence[str]]], names: Sequence[str], width: int) -> list[str]:
    """The rows of all tables, a column for each name; no line is longer than `width`."""
    rows = [(label, cells) for table in tables.values() for label, cells in table.items()]
    label = max((len(label) for label, _ in rows), default=0)
    columns = _columns([names, *(cells for _, cells in rows)], width - label)
    found = _row("", names, label, columns) if columns else []
    for heading, table in tables.items():
        if heading and table:
            found += ["", *_wrapped(heading, width)]
        for name, cells in table.items():
            found += _row(name, cells, label, columns) if columns else _stack(name, cells, names, width)
    return found


def _columns(rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Widths of the columns, or none where they would be too narrow."""
    natural = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    share = room // len(natural) - GAP
    if sum(natural) + GAP * len(natural) <= room:
        return natural
    return [min(share, own) for own in natural] if share >= NARROW else []


def _row(label: str, cells: Sequence[str], width: int, columns: Sequence[int]) -> list[str]:
    wrapped = [_wrapped(cell, column) for cell, column in zip(cells, columns, strict=True)]
    found: list[str] = []
    for at, parts in enumerate(zip_longest(*wrapped, fillvalue="")):
        padded = (f"{part:{column + GAP}}" for part, column in zip(parts, columns, strict=True))
        found.append(f"{'' if at else label:{width}}{' ' * GAP}{''.join(padded)}".rstrip())
    return found


def _stack(label: str, cells: Sequence[str], names: Sequence[str], width: int) -> list[str]:
    found = _wrapped(label, width)
    for name, cell in zip(names, cells, strict=True):
        found += [f"  {part}" for part in _wrapped(f"{name}: {cell}", max(width - 2, 1))]
    return found


def _wrapped(text: str, width: int) -> list[str]:
    return wrap(text, max(width, 1)) or [""]
