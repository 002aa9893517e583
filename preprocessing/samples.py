"""Which samples the raw files make, as columns: ten million of them take some hundred bytes each.

Files that share a path without extension are one sample. Its split is the table's, or the split folder's, or
drawn by a stable hash of that path, so that it never moves when data are added.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from preprocessing.columns import rows
from preprocessing.labels import SEPARATOR, Labels
from preprocessing.settings import Modality

SIGNATURE = 16


@dataclass(frozen=True, slots=True)
class Part:
    """One modality of a sample, and the file that holds it."""

    modality: Modality
    path: str
    size: int
    stamp: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One planned sample."""

    identity: str
    """The path below the raw folder without its extension; never moves when files are added."""
    label: str
    """Its class; several separated by `;`."""
    parts: tuple[Part, ...]
    """One per modality, in the order of data.modalities."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """What the label table says of it besides."""


@dataclass(frozen=True, kw_only=True)
class Samples:
    """All samples of an inventory, in the order of their paths; n of them, m modalities."""

    files: pa.Table
    """The inventory's files."""
    labels: Labels | None
    """The label table, where there is one."""
    names: tuple[str, ...]
    """Every label, or set of labels, that a sample has."""
    modalities: tuple[Modality, ...]
    rows: NDArray[np.int64]
    """[n, m]: the file of each modality."""
    label: NDArray[np.int32]
    """[n]: place of its label in `names`."""
    split: NDArray[np.int8]
    """[n]: place of its split in SPLITS."""
    order: NDArray[np.uint64]
    """[n]: where it stands in its split; a hash of the path, so that classes are mixed."""
    signature: NDArray[np.void]
    """[n]: 16 bytes of a hash of what is known without reading it, but times: paths, sizes, label, split."""
    stamp: NDArray[np.int64]
    """[n]: changes with its files' stamps."""
    noted: NDArray[np.int64]
    """[n]: its row in the label table, -1 where there is none."""
    refused: pa.Table
    """The inventory's refusals, and those of files and table rows that make no sample, ordered by source."""
    found: int
    """Inputs: the files, and the rows of the table that name none."""

    def __len__(self) -> int:
        return len(self.stamp)

    def classes(self) -> tuple[str, ...]:
        """All classes, ordered."""
        used = {self.names[one] for one in np.unique(self.label).tolist()}
        return tuple(sorted({name for labels in used for name in apart(labels, self.several)}))

    @property
    def several(self) -> bool:
        """Whether a sample may have several labels."""
        return self.labels is not None and self.labels.several

    def with_splits(self, row: NDArray[np.int64], split: NDArray[np.int8]) -> "Samples":
        """The same samples, those that are a row of the ledger in the split that this gave them."""
        known = row >= 0
        kept = self.split.copy()
        kept[known] = split[row[known]]
        return replace(self, split=kept)

    def paths(self, members: NDArray[np.int64]) -> list[list[str]]:
        """The path of each modality's file, for each of these samples."""
        return [[part.path for part in sample.parts] for sample in self.take(members)]

    def take(self, members: NDArray[np.int64]) -> list[Sample]:
        """These samples as objects."""
        files = [*rows(self.files.take(pa.array(self.rows[members].reshape(-1))))]
        return [
            self._sample(int(member), files[at * len(self.modalities) : (at + 1) * len(self.modalities)])
            for at, member in enumerate(members)
        ]

    def _sample(self, member: int, files: Sequence[tuple[Any, ...]]) -> Sample:
        parts = tuple(
            Part(modality, os.fsdecode(stem + ending), size, stamp)
            for modality, (stem, ending, size, stamp) in zip(self.modalities, files, strict=True)
        )
        noted = int(self.noted[member])
        extras = self.labels.extra(noted) if self.labels and noted >= 0 else {}
        return Sample(os.fsdecode(files[0][0]), self.names[self.label[member]], parts, extras)


def apart(labels: str, several: bool) -> list[str]:
    """The classes in a label of the index."""
    return labels.split(SEPARATOR) if several else [labels]


def digest(purpose: str, identity: bytes) -> bytes:
    """The same bytes for the same identity for all time, others for every purpose."""
    return hashlib.sha256(purpose.encode() + b"\0" + identity).digest()
