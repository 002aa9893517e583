"""Tables from bytes in memory, read on the calling thread.

A thread of Arrow's may let go of Python's bytes when the interpreter has already ended: the process is then
aborted after all its work was done, about once in 450 commands on a busy machine (apache/arrow#34314).
"""

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq


def parquet(data: bytes, columns: list[str] | None = None) -> pa.Table:
    """The rows of a Parquet file, with these columns or all.

    Raises:
        pa.ArrowException: it is none.
        OSError: it is cut off.
    """
    return pq.ParquetFile(pa.BufferReader(data)).read(columns, use_threads=False)


def csv(data: bytes, kind: pa.DataType) -> pa.Table:
    """The rows below a header, every column of one kind.

    Raises:
        pa.ArrowInvalid: it is no CSV.
    """
    return pyarrow.csv.read_csv(
        pa.BufferReader(data),
        read_options=pyarrow.csv.ReadOptions(use_threads=False),
        convert_options=pyarrow.csv.ConvertOptions(default_column_type=kind),
    )
