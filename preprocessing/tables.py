"""Parquet files written piece by piece: the same bytes for the same rows, and named by their content."""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.storage import Store
from preprocessing.shards import Table

GROUP = 100_000


class HashedFile:
    """A file that knows the sha256 of what was written to it."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> int:
        self.file.write(data)
        self.sha256.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size

    def flush(self) -> None:
        self.file.flush()


def publish_table(
    home: Store, folder: str, generation: int, pieces: Iterable[pa.Table], schema: pa.Schema
) -> Table:
    """Write the rows as a file of the index or the quarantine, named after its content."""
    with home.draft() as draft:
        file = HashedFile(draft.file)
        count = write(file, pieces, schema)
        name = f"g{generation:04d}-{file.sha256.hexdigest()[:12]}.parquet"
        draft.publish(f"{folder}/{name}")
    return Table(name=name, sha256=file.sha256.hexdigest(), rows=count)


def replace_table(home: Store, name: str, table: pa.Table) -> None:
    """Write the rows under this name."""
    with home.draft() as draft:
        write(HashedFile(draft.file), [table], table.schema)
        draft.publish(name)


def write(file: HashedFile, pieces: Iterable[pa.Table], schema: pa.Schema) -> int:
    """Write Parquet; the number of rows."""
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for group in groups(pieces, schema):
            writer.write_table(group, row_group_size=GROUP)
            count += group.num_rows
    return count


def groups(pieces: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The same rows in tables of equal length, so that the file does not depend on how they came."""
    waiting = schema.empty_table()
    for piece in pieces:
        waiting = pa.concat_tables([waiting, piece])
        while waiting.num_rows >= GROUP:
            yield waiting.slice(0, GROUP).combine_chunks()
            waiting = waiting.slice(GROUP)
    if waiting.num_rows:
        yield waiting.combine_chunks()
