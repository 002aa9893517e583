"""Makes finished shards one artifact: index, quarantine, and last of all the manifest."""

import hashlib
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.storage import write_whole
from preprocessing import statistics
from preprocessing.build import PARTS
from preprocessing.plan import FORMAT, GENERATION, Plan, Work
from preprocessing.refusal import Refusal
from preprocessing.settings import SPLITS
from preprocessing.shards import INDEX, MANIFEST, QUARANTINE, Shards, bytes_of, seal
from preprocessing.statistics import Sums

SEEN = "seen"
OURS = re.compile(r"(train|val|test)-g\d{4}-\d{5}-[0-9a-f]{12}\.(tar|json)")

ARRAY = pa.struct(
    [
        ("modality", pa.string()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("offset", pa.int64()),
        ("length", pa.int64()),
    ]
)
INDEX_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("label", pa.string()),
        ("shard", pa.string()),
        ("source", pa.string()),
        ("source_sha256", pa.string()),
        ("arrays", pa.list_(ARRAY)),
    ]
)
QUARANTINE_COLUMNS = pa.schema([(name, pa.string()) for name in ("source", "modality", "reason", "detail")])


@dataclass(frozen=True, kw_only=True)
class Finished:
    """What the sidecars of all shards say together."""

    index: pa.Table
    refused: tuple[Refusal, ...]
    """Those of the plan and those of the decoders, ordered by source."""
    shards: tuple[dict[str, Any], ...]
    """Name, sha256, bytes and samples of every shard."""
    accepted_files: int
    """Files of accepted samples."""
    sums: Sums


def finished(home: Path, work: Work) -> bool:
    """Whether the shard is there, whole, and built from the raw files as they are now."""
    try:
        sidecar = json.loads((home / PARTS / f"{work.name}.json").read_bytes())
        whole = bytes_of(home / sidecar["shard"]["name"]) == sidecar["shard"]["bytes"]
        return whole and sidecar["token"] == work.token()
    except (OSError, ValueError, KeyError, TypeError):
        return False


def gather(home: Path, plan: Plan) -> Finished:
    """Read the sidecars, in the order of the plan."""
    tables: list[pa.Table] = [INDEX_COLUMNS.empty_table()]
    refused, shards, sums, accepted_files = list(plan.refused), [], Sums(), 0
    for work in plan.works:
        sidecar = json.loads((home / PARTS / f"{work.name}.json").read_bytes())
        tables.append(pa.Table.from_pylist(sidecar["rows"], schema=INDEX_COLUMNS))
        refused += [Refusal(**row) for row in sidecar["refused"]]
        shards.append(sidecar["shard"])
        statistics.add(sums, sidecar["sums"])
        accepted_files += sidecar["accepted_files"]
    if accepted_files + len(refused) != plan.inventory.found:
        raise AssertionError(
            f"{plan.inventory.found} files found, {accepted_files} + {len(refused)} accounted for"
        )
    return Finished(
        index=pa.concat_tables(tables),
        refused=tuple(sorted(refused, key=lambda one: (one.source, one.modality, one.reason))),
        shards=tuple(shard for shard in shards if shard["samples"]),
        accepted_files=accepted_files,
        sums=sums,
    )


def commit(home: Path, place: str, plan: Plan, done: Finished) -> Shards:
    """Publish; from here on readers see these shards."""
    index = parquet(done.index)
    quarantine = parquet(quarantine_table(done.refused))
    splits = done.index.column("split").to_pylist()
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "generation": GENERATION,
        "parent": None,
        "plan": plan.hash,
        "settings": plan.stored,
        "decoders": plan.decoders,
        "classes": list(plan.classes),
        "counts": {split: splits.count(split) for split in SPLITS},
        "found": plan.inventory.found,
        "accepted_files": done.accepted_files,
        "quarantined": len(done.refused),
        "statistics": done.sums,
        "shards": list(done.shards),
        "index": hashlib.sha256(index).hexdigest(),
        "quarantine": hashlib.sha256(quarantine).hexdigest(),
    }
    manifest["digest"] = seal(manifest)
    # Until the new manifest is there, none: an old one beside a new index would name what is not there.
    (home / MANIFEST).unlink(missing_ok=True)
    write_whole(home / INDEX, index)
    write_whole(home / QUARANTINE, quarantine)
    write_whole(home / PARTS / SEEN, seen(plan).encode())
    write_whole(home / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    sweep(home, plan)
    return Shards.of(place, manifest)


def seen(plan: Plan) -> str:
    """Recognises the raw folder as it was, times of change and refused files included."""
    whole = hashlib.sha256(plan.hash.encode())
    for work in plan.works:
        whole.update(work.token().encode())
    for one in plan.refused:
        whole.update(json.dumps([one.source, one.modality, one.reason]).encode())
    return whole.hexdigest()


def sweep(home: Path, plan: Plan) -> None:
    """Remove shards and sidecars of other plans; never a file that does not bear a shard's name."""
    kept = {work.name for work in plan.works}
    for path in [*home.iterdir(), *(home / PARTS).iterdir()]:
        if OURS.fullmatch(path.name) and path.stem not in kept:
            path.unlink()


def sweep_unpublished(home: Path) -> None:
    """Remove what attempts that died left half written."""
    for path in [*home.glob(".*.part"), *(home / PARTS).glob(".*.part")]:
        path.unlink(missing_ok=True)


def quarantine_table(refused: Sequence[Refusal]) -> pa.Table:
    """One row a refused file."""
    rows = [{name: getattr(one, name) for name in QUARANTINE_COLUMNS.names} for one in refused]
    return pa.Table.from_pylist(rows, schema=QUARANTINE_COLUMNS)


def parquet(table: pa.Table) -> bytes:
    """The table as the bytes of a Parquet file, the same bytes for the same rows."""
    # Chunks follow the shards; one chunk makes the row groups independent of them.
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", row_group_size=100_000)
    return sink.getvalue()
