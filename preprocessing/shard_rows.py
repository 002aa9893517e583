"""The rows of an index, taken shard by shard: what is in memory as Python objects is one shard's."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from preprocessing.columns import compute

Row = Mapping[str, Any]
"""One row of the index."""


class RowsOfShards:
    """The rows of an index by their shard."""

    def __init__(self, index: pa.Table) -> None:
        names = compute.fill_null(index["shard"], "").combine_chunks().dictionary_encode()
        self._index = index
        self._numbers: dict[str, int] = {name: at for at, name in enumerate(names.dictionary.to_pylist())}
        codes = names.indices.to_numpy()
        self._order = np.argsort(codes, kind="stable")
        self._ends = np.cumsum([0, *np.bincount(codes, minlength=len(self._numbers))])

    def counts(self) -> dict[str, int]:
        """Rows by shard."""
        return dict(zip(self._numbers, np.diff(self._ends).tolist(), strict=True))

    def of(self, name: str) -> list[Row]:
        """Those of one shard."""
        at = self._numbers.get(name)
        if at is None:
            return []
        rows: list[Row] = self._index.take(self._order[self._ends[at] : self._ends[at + 1]]).to_pylist()
        return rows
