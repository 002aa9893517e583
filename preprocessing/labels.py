"""What a sample is called: its class folder, or the row of a table that names it.

The table is CSV (UTF-8, with a header) or Parquet: `path` below the raw folder, with or without its
extension; `label`, or `labels` with several separated by `;` (in Parquet a list of strings too); `split`
where it decides that; every other column is an extra that is kept with the sample.
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import is_bucket, local_path, parted, store
from preprocessing import table_bytes
from preprocessing.columns import compute, rows
from preprocessing.inventory import MODALITIES, ending
from preprocessing.settings import SPLITS

SEPARATOR = ";"
TEXT = pa.large_string()


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The rows of a label table, as columns."""

    stems: pa.Array
    """What each row names, without extension, as bytes."""
    names: pa.Array
    """Its label; several in alphabetical order, separated by `;`."""
    splits: pa.Array
    """train, val, test, or empty where the table leaves it open."""
    extras: pa.Table
    """The other columns."""
    several: bool
    """Whether a sample may have several labels."""

    def rows_of(self, stems: pa.Array) -> NDArray[np.int64]:
        """The row that names each of these, -1 where none does."""
        found = compute.index_in(stems, value_set=self.stems)
        return compute.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)

    def extra(self, row: int) -> dict[str, Any]:
        """The other columns of a row, as what JSON can hold."""
        if not self.extras.num_columns:
            return {}
        values = self.extras.slice(row, 1).to_pylist()[0]
        # JSON has no NaN.
        whole = {name: None if is_nan(value) else value for name, value in values.items()}
        return json.loads(json.dumps(whole, default=str))


def is_nan(value: object) -> bool:
    """Whether it is no number, which Parquet can hold."""
    return isinstance(value, float) and math.isnan(value)


def read(place: str, raw: str) -> Labels:
    """The table at `place` over the raw files at `raw`.

    Raises:
        UserError: it cannot be read, lacks a column, or says what cannot be.
    """
    table = loaded(place)
    several = "labels" in table.column_names
    wanted = column(table, "path", place), column(table, "labels" if several else "label", place)
    paths, given = wanted
    names = joined(given, place) if several else text(given, place)
    unnamed = compute.equal(compute.fill_null(names, ""), "")
    refuse_where(unnamed, place, "has no label. Give it one, or take the row out")
    splits = pa.array([""] * len(names), TEXT)
    if "split" in table.column_names:
        splits = compute.fill_null(text(column(table, "split", place), place), "")
    known = pa.array(["", *SPLITS], TEXT)
    strange = compute.invert(compute.is_in(splits, known))
    refuse_where(strange, place, "names another split than train, val or test")
    extras = table.drop_columns(
        [name for name in ("path", "label", "labels", "split") if name in table.column_names]
    )
    stems = [stem(path, raw) for (path,) in rows(pa.table({"path": text(paths, place)}))]
    return once(Labels(
        stems=pa.array(stems, pa.large_binary()),
        names=names, splits=splits, extras=extras, several=several,
    ), place)  # fmt: skip


def loaded(place: str) -> pa.Table:
    """The table as it stands."""
    try:
        data = content(place)
        if data[:4] == b"PAR1":
            return table_bytes.parquet(data)
        return table_bytes.csv(data, TEXT)
    except FileNotFoundError:
        raise UserError(
            f"data.labels is {place}: there is no such file. Name a CSV or Parquet table with the columns "
            f"path and label, or leave it out where class folders give the labels."
        ) from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"The label table {place} cannot be read: {error}. Give UTF-8 CSV or Parquet."
        ) from error


def content(place: str) -> bytes:
    """The table's bytes."""
    if is_bucket(place):
        home, name = parted(place)
        return store(home).read(name)
    return local_path(place).read_bytes()


def column(table: pa.Table, name: str, place: str) -> pa.ChunkedArray:
    """A column that must be there."""
    if name not in table.column_names:
        near = get_close_matches(name, table.column_names, n=1)
        hint = f" Perhaps {near[0]} is it: rename it." if near else ""
        raise UserError(
            f"The label table {place} has no column {name}; it has {', '.join(table.column_names)}.{hint}"
        )
    if table.column_names.count(name) > 1:
        raise UserError(f"The label table {place} has several columns {name}. Keep one.")
    return table[name]


def text(values: pa.ChunkedArray, place: str) -> pa.Array:
    """The values as text."""
    try:
        return values.cast(TEXT).combine_chunks()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(
            f"The label table {place} has a column path, label or split that is no text ({error}). "
            f"Give UTF-8 text in each; lists of labels belong into a column `labels`."
        ) from error


def joined(values: pa.ChunkedArray, place: str) -> pa.Array:
    """Several labels of a row as one text, each once and in order."""
    lists = values if pa.types.is_list(values.type) or pa.types.is_large_list(values.type) else None
    given: Sequence[Any] = (
        lists.to_pylist() if lists else compute.split_pattern(text(values, place), SEPARATOR).to_pylist()
    )
    found = [sorted({str(one).strip() for one in labels or []} - {""}) for labels in given]
    if any(SEPARATOR in one for labels in found for one in labels):
        raise UserError(
            f"The label table {place} has a label with `{SEPARATOR}` in it, which separates them."
        )
    return pa.array([SEPARATOR.join(labels) for labels in found], TEXT)


def stem(path: str | None, raw: str) -> bytes:
    """The path below the raw folder, without the extension of a modality."""
    whole = raw.rstrip("/") + "/" if raw.startswith("/") or is_bucket(raw) else "./"
    inner = (path or "").removeprefix(whole).removeprefix("./")
    suffix = ending(inner)
    return os.fsencode(inner[: len(inner) - len(suffix)] if suffix in MODALITIES else inner)


def refuse_where(wrong: pa.Array, place: str, what: str) -> None:
    """Stop at the first row of which this is said."""
    if (row := compute.index(wrong, True).as_py()) >= 0:
        raise UserError(f"Row {row + 1:,} (without a header) of the label table {place} {what}.")


def once(labels: Labels, place: str) -> Labels:
    """The labels with each sample named once; rows that repeat another word by word are taken as one."""
    first = compute.index_in(labels.stems, value_set=labels.stems).to_numpy()
    again = np.flatnonzero(first != np.arange(len(first)))
    for row in again.tolist():
        before = int(first[row])
        if said(labels, row) != said(labels, before):
            name = os.fsdecode(labels.stems[row].as_py())
            raise UserError(
                f"The label table {place} names {name} twice and differently, in rows {before + 1:,} and "
                f"{row + 1:,}. Keep one; for several labels use a column `labels`, separated by `;`."
            )
    if not len(again):
        return labels
    keep = pa.array(first == np.arange(len(first)))
    return Labels(
        stems=labels.stems.filter(keep), names=labels.names.filter(keep), splits=labels.splits.filter(keep),
        extras=labels.extras.filter(keep), several=labels.several,
    )  # fmt: skip


def said(labels: Labels, row: int) -> tuple[Any, ...]:
    """All that a row says but the file's name."""
    return labels.names[row].as_py(), labels.splits[row].as_py(), json.dumps(labels.extra(row))
