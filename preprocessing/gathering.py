"""What the shards of a new version, and those that it keeps, say together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.storage import Store
from preprocessing import statistics
from preprocessing.build import sidecar_name
from preprocessing.columns import Columns, compute
from preprocessing.history import NOTES, Match, Past, refreshed
from preprocessing.inventory import printable
from preprocessing.plan import Plan, Planned
from preprocessing.samples import Samples
from preprocessing.settings import SPLITS
from preprocessing.shards import (
    Tar,
)
from preprocessing.statistics import Sums


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """What the new shards' sidecars and the version before say together."""

    tars: tuple[Tar, ...]
    """The new shards that hold a sample."""
    notes: pa.Table
    """The new ledger."""
    refused: pa.Table
    """The whole quarantine, ordered by source, and whether each row counts."""
    counts: dict[str, int]
    """Samples by split."""
    accepted_files: int
    sums: Sums
    """Over the new training samples."""


def gather(home: Store, plan: Plan, past: Past, matched: Match) -> Gathered:
    """Add up, in the order of the plan; the rows of the index are left where they are."""
    samples = plan.samples
    tars: list[Tar] = []
    sums, accepted_files, counts = Sums(), 0, np.zeros(len(SPLITS), np.int64)
    notes, refused = Columns(NOTES), Columns(samples.refused.schema)
    for planned in plan.new:
        sidecar = json.loads(home.read(sidecar_name(planned.name)))
        add_notes(notes, samples, planned, sidecar)
        for row in sidecar["refused"]:
            refused.add(row["source"], row["modality"], row["reason"], row["detail"], True)
        tars.append(Tar(**sidecar["shard"], removed=0))
        statistics.add(sums, sidecar["sums"])
        accepted_files += sidecar["accepted_files"]
        counts[SPLITS.index(planned.split)] += sidecar["shard"]["samples"]  # pyright: ignore[reportArgumentType]
    kept = kept_members(past, matched)
    counts += np.bincount(past.split()[matched.row[kept]], minlength=len(SPLITS))
    accepted_files += distinct_files(samples.rows[kept])
    quarantine = [samples.refused, refused.table(), kept_refusals(plan, past, matched)]
    whole = pa.concat_tables(quarantine).sort_by(
        [(name, "ascending") for name in ("source", "modality", "reason")]
    )
    if accepted_files + whole.num_rows != samples.found:
        raise AssertionError(f"{samples.found} inputs, {accepted_files} + {whole.num_rows} accounted for")
    return Gathered(
        tars=tuple(tar for tar in tars if tar.samples),
        notes=pa.concat_tables([refreshed(past, samples, matched), notes.table()]),
        refused=whole,
        counts=dict(zip(SPLITS, counts.tolist(), strict=True)),
        accepted_files=accepted_files,
        sums=sums,
    )


def add_notes(notes: Columns, samples: Samples, planned: Planned, sidecar: Mapping[str, Any]) -> None:
    """The ledger's rows of one new shard."""
    faulty = frozenset(sidecar["faulty"])  # By place: two paths may look alike in print.
    for at, (member, key) in enumerate(zip(planned.members, sidecar["keys"], strict=True)):
        signature, stamp = samples.signature[member].tobytes(), int(samples.stamp[member])
        notes.add(signature, stamp, key, planned.name, at not in faulty)


def kept_members(past: Past, matched: Match) -> NDArray[np.int64]:
    """The known samples that are in the index."""
    known = np.flatnonzero(matched.row >= 0)
    return known[past.accepted()[matched.row[known]]]


def distinct_files(rows: NDArray[np.int64]) -> int:
    """Files behind samples: a file that holds two modalities counts once."""
    ordered = np.sort(rows, axis=1)
    return int((np.diff(ordered, axis=1) > 0).sum()) + len(rows)


def kept_refusals(plan: Plan, past: Past, matched: Match) -> pa.Table:
    """What the decoders refused in earlier versions, of the files that are still the same."""
    if past.shards is None:
        return plan.samples.refused.slice(0, 0)
    known = np.flatnonzero(matched.row >= 0)
    members = known[~past.accepted()[matched.row[known]]]
    sources = {printable(path) for paths in plan.samples.paths(members) for path in paths}
    old = past.shards.refused()
    old = old.filter(compute.is_in(old["source"], value_set=pa.array(sorted(sources), pa.string())))
    return old.append_column("counts", pa.array(np.ones(old.num_rows, bool)))


def same(done: Gathered, samples: Samples, past: Past, matched: Match) -> bool:
    """Whether the raw files make no other version than the one that is there; litter makes none."""
    shards = past.shards
    if shards is None or shards.several != samples.several or done.tars:
        return False
    if len(kept_members(past, matched)) < int(past.accepted().sum()):
        return False
    counted = done.refused.filter(done.refused["counts"]).drop_columns("counts")
    before = {tuple(row.values()) for row in shards.refused().to_pylist()}
    return counted.num_rows == shards.quarantined - shards.litter and all(
        tuple(row.values()) in before for row in counted.to_pylist()
    )
