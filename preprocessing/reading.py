"""Samples by their row: the index says where each array lies, one positioned read brings it.

Nothing is decoded, no state is kept, and threads may share one reader.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import local_path
from preprocessing.columns import compute
from preprocessing.shards import Shards

# Well below the usual limit of 1,024 open files per process.
OPEN_SHARDS = 512


class Lying:
    """Where the arrays of each row lie, as flat columns: a tenth of the time of Arrow's nested rows."""

    def __init__(self, arrays: pa.ListArray) -> None:
        flat = arrays.flatten()
        self._starts: list[int] = (arrays.offsets.to_numpy() - arrays.offsets[0].as_py()).tolist()
        self._modalities: list[str] = flat.field("modality").to_pylist()
        self._dtypes: list[str] = flat.field("dtype").to_pylist()
        self._shapes: list[list[int]] = flat.field("shape").to_pylist()
        self._offsets: list[int] = flat.field("offset").to_pylist()

    def of(self, row: int) -> Iterator[tuple[str, str, list[int], int]]:
        """Modality, dtype, shape and offset of each array of the row."""
        part = slice(self._starts[row], self._starts[row + 1])
        return zip(
            self._modalities[part], self._dtypes[part], self._shapes[part], self._offsets[part], strict=True
        )


class Reader:
    """The samples of one split, in the order of the index."""

    def __init__(self, shards: Shards, split: str) -> None:
        self._home = local_path(shards.place)
        table = shards.index()
        table = table.filter(compute.field("split") == split)
        if table.num_rows != shards.counts[split]:
            raise UserError(
                f"{shards.place}: the index holds {table.num_rows} samples of {split}, the manifest says "
                f"{shards.counts[split]}. Shard again; finished shards are kept."
            )
        number = {name: label for label, name in enumerate(shards.classes)}
        self.keys: list[str] = table["key"].to_pylist()
        self.sources: list[str] = table["source"].to_pylist()
        self.labels: NDArray[np.int64] = np.array(
            [number[label] for label in table["label"].to_pylist()], np.int64
        )
        self._shards = table["shard"].dictionary_encode().combine_chunks()
        self._names: list[str] = self._shards.dictionary.to_pylist() if table.num_rows else []
        self._shard_of = self._shards.indices.to_numpy() if table.num_rows else np.empty(0, np.int64)
        self._lying = Lying(table["arrays"].combine_chunks())
        self._files: dict[str, int] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, rows: Sequence[int] | NDArray[np.int64]) -> list[dict[str, NDArray[Any]]]:
        """The arrays of these rows by modality, each its own writable memory.

        Raises:
            UserError: a shard is shorter than its index says.
        """
        return [self._sample(int(row)) for row in rows]

    def close(self) -> None:
        """Give the open files back; reading opens them again."""
        with self._lock:
            while self._files:
                os.close(self._files.popitem()[1])

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_files", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _files={}, _lock=threading.Lock())

    def __del__(self) -> None:
        for file in self.__dict__.get("_files", {}).values():
            os.close(file)

    def _sample(self, row: int) -> dict[str, NDArray[Any]]:
        name = self._names[self._shard_of[row]]
        file, kept = self._open(name)
        try:
            return {
                modality: self._array(file, name, dtype, shape, offset)
                for modality, dtype, shape, offset in self._lying.of(row)
            }
        finally:
            if not kept:
                os.close(file)

    def _array(self, file: int, name: str, dtype: str, shape: list[int], offset: int) -> NDArray[Any]:
        array = np.empty(shape, dtype)
        view = array.reshape(-1).view(np.uint8).data
        got = 0
        while got < len(view):
            more = os.preadv(file, [view[got:]], offset + got)
            if not more:
                raise UserError(
                    f"{self._home / name} ends inside a sample: {len(view)} bytes were to be read at "
                    f"{offset}, {got} are there. Shard again; whole shards are kept."
                )
            got += more
        return array

    def _open(self, name: str) -> tuple[int, bool]:
        """The shard's open file, and whether it stays open."""
        file = self._files.get(name)
        if file is not None:
            return file, True
        with self._lock:
            if name in self._files:
                return self._files[name], True
            try:
                file = os.open(self._home / name, os.O_RDONLY)
            except FileNotFoundError:
                raise UserError(
                    f"{self._home / name} is gone; the index names it. Shard again; other shards are kept."
                ) from None
            if len(self._files) < OPEN_SHARDS:
                self._files[name] = file
                return file, True
            return file, False
