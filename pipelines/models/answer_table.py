"""Answers as a table, and the Parquet file that holds all of them or is not there.

Columns: `source`, `label` where the inputs have one, `class` and `probability`, where they are asked for the
`probabilities` of all classes (a struct with a field for each), and `refused` with its `detail` where there
is no answer.
"""

from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cluster.mistake import UserError
from cluster.storage import Store, parted, store
from pipelines.models.answering import Answer
from pipelines.models.inputs import Shown
from preprocessing.labels import SEPARATOR

ROW_GROUP = 16_384
"""Answers that are written at a time."""


def schema(classes: Sequence[str], *, labelled: bool, every: bool) -> pa.Schema:
    """The columns of a table of answers."""
    each = pa.struct([(name, pa.float32()) for name in classes])
    return pa.schema(
        [
            ("source", pa.string()),
            *([("label", pa.string())] if labelled else []),
            ("class", pa.string()),
            ("probability", pa.float32()),
            *([("probabilities", each)] if every else []),
            ("refused", pa.string()),
            ("detail", pa.string()),
        ]
    )


def as_table(
    shown: Sequence[Shown], answers: Sequence[Answer], classes: Sequence[str], *, every: bool
) -> pa.Table:
    """A row for each input."""
    wanted = schema(classes, labelled=any(one.label is not None for one in shown), every=every)
    none = np.array([one.found is None for one in answers])
    nothing = np.zeros(len(classes), np.float32)
    found = np.stack([nothing if one.found is None else one.found for one in answers])
    best = found.argmax(1)
    columns: dict[str, Any] = {
        "source": [one.source for one in shown],
        "label": [one.label for one in shown],
        "class": pa.array([classes[place] for place in best], mask=none),
        "probability": pa.array(found[np.arange(len(found)), best], mask=none),
        "refused": [one.refused or None for one in answers],
        "detail": [one.detail or None for one in answers],
    }
    if every:
        parts = [pa.array(np.ascontiguousarray(column)) for column in found.T]
        fields = [*wanted.field("probabilities").type]
        columns["probabilities"] = pa.StructArray.from_arrays(parts, fields=fields, mask=pa.array(none))
    return pa.table({name: columns[name] for name in wanted.names}, schema=wanted)


@dataclass
class Written:
    """What has gone into a file so far."""

    refused: Counter[str] = field(default_factory=Counter[str])
    """Inputs by the reason for which they were refused."""
    classes: Counter[str] = field(default_factory=Counter[str])
    """Inputs by the class that they were taken for."""
    right: int = 0
    """Those whose class is the label, or one of several."""
    waiting: list[pa.Table] = field(default_factory=list[pa.Table])
    writer: pq.ParquetWriter | None = None

    @property
    def count(self) -> int:
        """All inputs."""
        return self.refused.total() + self.classes.total()

    def add(self, table: pa.Table, file: Any) -> None:
        """Count the answers, and write them when there are enough."""
        self.refused.update(one for one in table["refused"].to_pylist() if one)
        found = table["class"].to_pylist()
        self.classes.update(one for one in found if one)
        if "label" in table.column_names:
            labels = table["label"].to_pylist()
            self.right += sum(
                one in (label, *label.split(SEPARATOR)) for one, label in zip(found, labels, strict=True)
            )
        self.waiting.append(table)
        if sum(map(len, self.waiting)) >= ROW_GROUP:
            self.flush(file)

    def flush(self, file: Any) -> None:
        """Write what waits."""
        if self.waiting:
            whole = pa.concat_tables(self.waiting)
            self.writer = self.writer or pq.ParquetWriter(file, whole.schema)
            self.writer.write_table(whole)
            self.waiting = []


def parent_of(place: str) -> tuple[Store, str]:
    """Where the file is to lie, and its name there.

    Raises:
        UserError: it is no name of a Parquet file.
    """
    if not place.endswith(".parquet"):
        raise UserError(f"--output is {place}: the table is written as Parquet, name a file.parquet.")
    parent, name = parted(place)
    return store(parent), name


def refuse_present(place: str) -> None:
    """Refuse to write over what is there.

    Raises:
        UserError: something is.
    """
    home, name = parent_of(place)
    if home.size(name) >= 0:
        raise UserError(f"{place} is there already. Name another --output, or write over it with --force.")


@contextmanager
def answer_file(place: str) -> Generator[tuple[Written, Any]]:
    """A file that takes its name when all answers are in it, or never."""
    home, name = parent_of(place)
    with home.draft() as draft:
        written = Written()
        try:
            yield written, draft.file
            written.flush(draft.file)
        finally:
            if written.writer:
                written.writer.close()  # Before the draft's file is.
        draft.publish(name)
