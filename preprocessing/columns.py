"""Rows gathered into Arrow columns piece by piece: ten million of them take bytes, not Python objects."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute

compute: Any = pyarrow.compute
"""Arrow's functions, which are made at import, where no type checker sees them."""

PIECE = 65_536


class Columns:
    """A table in the making."""

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._pieces: list[pa.RecordBatch] = []
        self._rows: list[tuple[Any, ...]] = []

    def add(self, *row: Any) -> None:
        """Append one row, its values in the order of the schema."""
        self._rows.append(row)
        if len(self._rows) == PIECE:
            self._close()

    def table(self) -> pa.Table:
        """All rows; the collector is empty afterwards."""
        self._close()
        pieces, self._pieces = self._pieces, []
        return pa.Table.from_batches(pieces, self.schema)

    def _close(self) -> None:
        if self._rows:
            arrays = [
                pa.array(values, field.type)
                for values, field in zip(zip(*self._rows, strict=True), self.schema, strict=True)
            ]
            self._pieces.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
            self._rows = []


def rows(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table, as tuples, one piece of it in memory at a time."""
    for piece in table.to_batches(max_chunksize=PIECE):
        yield from zip(*(column.to_pylist() for column in piece.columns), strict=True)
