"""Samples by their row: the index says where each array lies, one positioned read brings it.

Nothing is decoded, no state is kept, and threads may share one reader.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from preprocessing.buffers import Buffers
from preprocessing.cache import Cache
from preprocessing.columns import compute
from preprocessing.shard_files import ShardFiles
from preprocessing.shards import Shards

Rows = Sequence[int] | NDArray[np.int64]
Arrays = NDArray[Any] | list[NDArray[Any]]
"""One array [B, ...] where all samples have the same shape, else an array a sample."""


class Reader:
    """The samples of one split, in the order of the index: about 24 bytes of memory each."""

    def __init__(self, shards: Shards, split: str, cache: Cache | None = None) -> None:
        self.shards, self.split = shards, split
        table = shards.index(["split", "label", "shard", "arrays"])
        rows = self._rows(table)
        self.labels = labels(table["label"], shards.classes, shards.several)[rows]
        """int64 [n], or uint8 [n, classes] where a sample may have several."""
        tars = tuple(shards.tars)
        self._shard = places(table["shard"], [tar.name for tar in tars])[rows]
        self._lying = lying(table["arrays"], shards.modalities, rows)
        self._files = ShardFiles(shards.store(), tars, cache)
        self._buffers = Buffers()

    def __len__(self) -> int:
        return len(self._shard)

    @cached_property
    def shard_sizes(self) -> NDArray[np.int64]:
        """Samples of each shard, in the order of the rows; one whose rows lie apart counts for each part."""
        begins = np.flatnonzero(np.diff(self._shard, prepend=-1))
        return np.diff(begins, append=len(self._shard))

    @cached_property
    def keys(self) -> list[str]:
        """Names of the samples, read from the index when they are asked for."""
        return self._texts("key")

    @cached_property
    def sources(self) -> list[str]:
        """Where the samples came from, read from the index when asked for."""
        return self._texts("source")

    @cached_property
    def label_names(self) -> list[str]:
        """The labels in words, as the index has them; several of a sample are separated by `;`."""
        return self._texts("label")

    def read(self, rows: Rows) -> list[dict[str, NDArray[Any]]]:
        """The arrays of these rows by modality, each its own writable memory.

        Raises:
            UserError: a shard is gone or shorter than its index says.
        """
        at = np.asarray(rows, np.int64)
        columns = {name: lying.memory(at) for name, lying in self._lying.items()}
        self._fill(at, columns)
        return [dict(zip(columns, sample, strict=True)) for sample in zip(*columns.values(), strict=True)]

    def read_batch(self, rows: Rows) -> dict[str, Arrays]:
        """The same with all samples of a modality in one array, if their shapes allow it.

        Raises:
            UserError: a shard is gone or shorter than its index says.
        """
        at = np.asarray(rows, np.int64)
        columns: dict[str, Arrays] = {}
        for name, lying in self._lying.items():
            form = lying.common(at)
            columns[name] = self._buffers.array((len(at), *form[1]), form[0]) if form else lying.memory(at)
        self._fill(at, columns)
        return columns

    def close(self) -> None:
        """Give the open files back; reading opens them again."""
        self._files.close()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_buffers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _buffers=Buffers())

    def _fill(self, at: NDArray[np.int64], columns: Mapping[str, Arrays]) -> None:
        shards = self._shard[at].tolist()
        offsets: list[int] = []
        memories: list[memoryview] = []
        for name, arrays in columns.items():
            offsets += self._lying[name].offsets[at].tolist()
            memories += pieces(arrays)
        self._files.fill(shards * len(columns), offsets, memories)

    def _texts(self, column: str) -> list[str]:
        table = self.shards.index(["split", column])
        return table[column].take(pa.array(self._rows(table))).to_pylist()

    def _rows(self, table: pa.Table) -> NDArray[np.int64]:
        """The rows of the index that belong to the split."""
        found, names = codes(table["split"])
        rows = np.flatnonzero(np.array([name == self.split for name in names], bool)[found])
        if len(rows) != self.shards.counts[self.split]:
            raise UserError(
                f"{self.shards.place}: the index holds {len(rows)} samples of {self.split}, the manifest "
                f"says {self.shards.counts[self.split]}. Shard again; finished shards are kept."
            )
        return rows


@dataclass(frozen=True)
class Lying:
    """Where the arrays of one modality lie, as columns."""

    offsets: NDArray[np.int64]
    """[n], bytes from the begin of the shard."""
    shapes: NDArray[np.int32]
    """[n, axes], or [1, axes] where all are the same."""
    dtypes: NDArray[np.int32]
    """[n] places in `names`, or [1] where all are the same."""
    names: tuple[np.dtype[Any], ...]

    def common(self, at: NDArray[np.int64]) -> tuple[np.dtype[Any], tuple[int, ...]] | None:
        """The type and shape that all these rows have; none where they differ, or where there is no row."""
        dtypes, shapes = picked(self.dtypes, at), picked(self.shapes, at)
        if not len(at) or not (alike(dtypes) and alike(shapes)):
            return None
        return self.names[dtypes[0]], tuple(shapes[0].tolist())

    def memory(self, at: NDArray[np.int64]) -> list[NDArray[Any]]:
        """An array for each row, holding anything."""
        dtypes = np.broadcast_to(picked(self.dtypes, at), len(at)).tolist()
        shapes = np.broadcast_to(picked(self.shapes, at), (len(at), self.shapes.shape[1])).tolist()
        return [np.empty(shape, self.names[dtype]) for shape, dtype in zip(shapes, dtypes, strict=True)]


def once(column: NDArray[Any]) -> NDArray[Any]:
    """The first row alone where all rows are the same."""
    return column[:1].copy() if len(column) and alike(column) else column


def alike(column: NDArray[Any]) -> bool:
    """Whether all rows are the same; there is at least one."""
    return len(column) == 1 or bool((column == column[0]).all())


def picked(column: NDArray[Any], at: NDArray[np.int64]) -> NDArray[Any]:
    """These rows of a column; of one that was cut by `once`, its only row."""
    return column[at] if len(column) > 1 else column


def pieces(arrays: Arrays) -> list[memoryview]:
    """The memory of each array, as bytes."""
    if isinstance(arrays, list):
        return [array.reshape(-1).view(np.uint8).data for array in arrays]
    whole = arrays.reshape(-1).view(np.uint8).data
    size = len(whole) // len(arrays)
    return [whole[at * size : (at + 1) * size] for at in range(len(arrays))]


def lying(column: pa.ChunkedArray, modalities: Sequence[str], rows: NDArray[np.int64]) -> dict[str, Lying]:
    """Where the arrays of these rows lie, by modality.

    Raises:
        UserError: a row has not exactly one array of each.
    """
    nested = column.combine_chunks()
    flat, each = nested.flatten(), len(modalities)
    if (np.diff(numbers(nested.offsets)) != each).any():
        raise UserError(f"The index does not hold {each} arrays a sample: it is damaged. Shard again.")
    found, names = codes(flat.field("modality"))
    found = found.reshape(-1, each)[rows]
    columns: dict[str, Lying] = {}
    for modality in modalities:
        here = found == (names.index(modality) if modality in names else -1)
        if (here.sum(1) != 1).any():
            raise UserError(f"The index does not hold one {modality} a sample: it is damaged. Shard again.")
        columns[modality] = lying_at(flat, rows * each + here.argmax(1))
    return columns


def lying_at(flat: pa.StructArray, at: NDArray[np.int64]) -> Lying:
    """Where these arrays lie; all have the same number of axes."""
    dtypes, names = codes(flat.field("dtype"))
    shape = flat.field("shape")
    starts = numbers(shape.offsets)
    axes = int(starts[at[0] + 1] - starts[at[0]]) if len(at) else 0
    sizes = numbers(shape.values)[starts[at][:, None] + np.arange(axes)]
    return Lying(
        offsets=numbers(flat.field("offset"))[at],
        shapes=once(sizes.astype(np.int32)),
        dtypes=once(dtypes[at]),
        names=tuple(np.dtype(name) for name in names),
    )


def codes(column: pa.ChunkedArray | pa.Array) -> tuple[NDArray[np.int32], list[str]]:
    """A column of texts as places in a list of them."""
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded: Any = compute.dictionary_encode(whole)
    return numbers(encoded.indices), encoded.dictionary.to_pylist()


def numbers(column: pa.Array) -> NDArray[Any]:
    """A column of numbers without nulls, as it lies; Arrow's `to_numpy` imports pandas: 0.25 s."""
    return np.from_dlpack(column)


def places(column: pa.ChunkedArray, known: Sequence[str]) -> NDArray[np.int32]:
    """The place of each shard among those of the manifest.

    Raises:
        UserError: the index names another one.
    """
    found, names = codes(column)
    place = {name: at for at, name in enumerate(known)}
    for name in names:
        if name not in place:
            raise UserError(f"The index names {name}, the manifest does not: one is damaged. Shard again.")
    return np.array([place[name] for name in names], np.int32)[found]


def labels(column: pa.ChunkedArray, classes: Sequence[str], several: bool) -> NDArray[Any]:
    """int64 [n] for one label a sample, uint8 [n, classes] for several."""
    number = {name: place for place, name in enumerate(classes)}
    found, names = codes(column)
    if not several:
        return np.array([number[name] for name in names], np.int64)[found]
    hot = np.zeros((len(names), len(classes)), np.uint8)
    for row, name in zip(hot, names, strict=True):
        row[[number[one] for one in name.split(";") if one]] = 1
    return hot[found]
