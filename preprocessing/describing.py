"""What a version of the shards holds, from its index and its quarantine alone: no shard is opened.

Arrow counts column by column, a generation at a time, so that ten million samples take seconds.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from preprocessing.columns import compute
from preprocessing.labels import SEPARATOR
from preprocessing.manifests import manifests
from preprocessing.settings import SPLITS
from preprocessing.shards import INDEX, Generation, Shards, table

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The arrays of one modality."""

    dtype: str
    """NumPy's short names, more than one only where decoders changed."""
    arrays: int
    bytes: int
    shapes: int
    """Distinct ones."""
    least: Shape
    """The shape with the fewest values."""
    median: Shape
    """Half of the arrays have no more values than this."""
    most: Shape
    """The shape with the most values."""


@dataclass(frozen=True, kw_only=True)
class Addition:
    """One generation."""

    number: int
    samples: int
    shards: int
    bytes: int
    decoders: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Reason:
    """What was refused for one reason."""

    reason: str
    inputs: int
    example: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Version:
    """A state of the data set."""

    digest: str
    parent: str
    samples: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """What there is to say of a version without opening a shard."""

    place: str
    digest: str
    parent: str
    samples: Mapping[str, int]
    """By split."""
    classes: Mapping[str, Mapping[str, int]]
    """By class and split; a sample with several labels counts for each."""
    modalities: Mapping[str, Stored]
    generations: tuple[Addition, ...]
    quarantine: tuple[Reason, ...]
    """The most frequent first."""
    versions: tuple[Version, ...]
    """All in the place that can be opened, the newest first."""


def describe(shards: Shards) -> Description:
    """Read the index and the quarantine.

    Raises:
        UserError: one of them is gone or damaged.
    """
    labels: Counter[tuple[str, str]] = Counter()
    arrays = defaultdict[str, Counter[tuple[str, Shape]]](Counter)
    generations: list[Addition] = []
    for generation in shards.generations:
        index = table(shards.store(), INDEX, generation.index, ["label", "split", "arrays"])
        labels.update(_labels(index, shards.several))
        for modality, counted in _arrays(index["arrays"]).items():
            arrays[modality].update(counted)
        generations.append(_addition(generation))
    return Description(
        place=shards.place, digest=shards.digest, parent=shards.parent, samples=shards.counts,
        classes={name: {split: labels[name, split] for split in SPLITS} for name in shards.classes},
        modalities={name: _stored(arrays[name]) for name in shards.modalities if arrays[name]},
        generations=tuple(generations), quarantine=reasons(shards.refused()), versions=_versions(shards),
    )  # fmt: skip


def _addition(generation: Generation) -> Addition:
    return Addition(
        number=generation.number, samples=generation.index.rows, shards=len(generation.tars),
        bytes=sum(tar.bytes for tar in generation.tars), decoders=generation.decoders,
    )  # fmt: skip


def _labels(index: pa.Table, several: bool) -> Counter[tuple[str, str]]:
    """Samples by label and split."""
    index = index.select(["label", "split"])
    if several:
        apart = compute.split_pattern(index["label"].combine_chunks(), SEPARATOR)
        index = pa.table({
            "label": compute.list_flatten(apart),
            "split": index["split"].take(compute.list_parent_indices(apart)),
        })  # fmt: skip
    counted = index.group_by(["label", "split"]).aggregate([([], "count_all")])
    return Counter({(row["label"], row["split"]): row["count_all"] for row in counted.to_pylist()})


def _arrays(arrays: pa.ChunkedArray) -> dict[str, Counter[tuple[str, Shape]]]:
    """Arrays by dtype and shape, of each modality."""
    found = defaultdict[str, Counter[tuple[str, Shape]]](Counter)
    for chunk in arrays.chunks:
        flat = chunk.flatten()
        shapes = flat.field("shape")
        lengths = compute.list_value_length(shapes)
        for axes in compute.unique(lengths).to_pylist():
            where = compute.equal(lengths, axes)
            sizes = shapes.filter(where).flatten().to_numpy().reshape(-1, axes)
            columns = {f"axis {axis}": sizes[:, axis] for axis in range(axes)}
            kinds = {name: flat.field(name).filter(where) for name in ("modality", "dtype")}
            groups = pa.table(kinds | columns).group_by([*kinds, *columns])
            for row in groups.aggregate([([], "count_all")]).to_pylist():
                shape = tuple(row[name] for name in columns)
                found[row["modality"]][row["dtype"], shape] += row["count_all"]
    return found


def _stored(counted: Counter[tuple[str, Shape]]) -> Stored:
    by_size = sorted(counted, key=lambda kind: (math.prod(kind[1]), kind))
    through = np.cumsum([counted[kind] for kind in by_size])
    middle = by_size[int(np.searchsorted(through, (int(through[-1]) + 1) // 2))]
    sizes = {kind: np.dtype(kind[0]).itemsize * math.prod(kind[1]) for kind in by_size}
    return Stored(
        dtype=", ".join(sorted({dtype for dtype, _ in by_size})),
        arrays=counted.total(),
        bytes=sum(size * counted[kind] for kind, size in sizes.items()),
        shapes=len({shape for _, shape in by_size}),
        least=by_size[0][1],
        median=middle[1],
        most=by_size[-1][1],
    )


def reasons(refused: pa.Table) -> tuple[Reason, ...]:
    """What a quarantine holds, by reason, the most frequent first."""
    counted = refused.group_by("reason", use_threads=False).aggregate(
        [([], "count_all"), ("source", "first"), ("detail", "first")]
    )
    rows: list[dict[str, Any]] = counted.to_pylist()
    return tuple(
        Reason(
            reason=row["reason"],
            inputs=row["count_all"],
            example=row["source_first"],
            detail=row["detail_first"],
        )
        for row in sorted(rows, key=lambda row: (-row["count_all"], row["reason"]))
    )


def _versions(shards: Shards) -> tuple[Version, ...]:
    """Each with its parent behind it, as far as they are there."""
    there = {one["digest"]: one for one in manifests(shards.store())}
    newest = next(iter(there), "")
    ordered: list[Version] = []
    while (one := there.pop(newest, None)) is not None:
        samples = sum(one["counts"].values())
        ordered.append(Version(digest=one["digest"], parent=one["parent"], samples=samples))
        newest = one["parent"]
    return tuple(ordered)
