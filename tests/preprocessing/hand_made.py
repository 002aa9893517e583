"""Shards of several modalities written by hand: what the job would leave behind, without raw files."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from preprocessing import statistics
from preprocessing.shards import (
    FORMAT,
    INDEX,
    INDEX_COLUMNS,
    MANIFEST,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    Shards,
    seal,
)
from preprocessing.tar import TarWriter

Arrays = dict[str, NDArray[Any]]
Make = Callable[[np.random.Generator, str], Arrays]

CLASSES = ("cat", "dog", "owl")
REFUSED = [
    {"source": "cat/torn.png", "modality": "image", "reason": "truncated", "detail": "ends in its header"},
    {"source": "dog/torn.png", "modality": "image", "reason": "truncated", "detail": "ends in its pixels"},
    {"source": "notes.txt", "modality": "", "reason": "unsupported", "detail": "no decoder"},
]


def noise(generator: np.random.Generator, label: str) -> Arrays:
    """A picture of 8 x 8 pixels."""
    return {"image": generator.integers(0, 256, (8, 8, 3), np.uint8)}


def by_hand(
    place: Path, make: Make = noise, per_shard: int = 5, shards: Sequence[str] = ("train", "train", "val"),
    settings: dict[str, Any] | None = None,
) -> Shards:  # fmt: skip
    """`per_shard` samples in each of the shards, named by their splits, and three refused files."""
    place.mkdir(parents=True)
    rows: list[dict[str, Any]] = []
    tars: list[dict[str, Any]] = []
    sums: statistics.Sums = {}
    for number, split in enumerate(shards):
        name = f"{split}-g0000-{number:05d}-0123456789ab.tar"
        more = list(
            written(place / name, split, make, range(number * per_shard, (number + 1) * per_shard), sums)
        )
        data = (place / name).read_bytes()
        rows += more
        tars.append({"name": name, "sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data),
                     "samples": len(more), "removed": 0})  # fmt: skip
    modalities = sorted({stored["modality"] for row in rows for stored in row["arrays"]})
    manifest = {
        "format": FORMAT, "number": 0, "parent": "", "unread": "", "litter": 0, "several": False,
        "classes": list(CLASSES), "statistics": sums,
        "counts": {split: sum(row["split"] == split for row in rows) for split in ("train", "val", "test")},
        "found": len(rows) + len(REFUSED), "accepted_files": len(rows), "quarantined": len(REFUSED),
        "settings": {"modalities": modalities, "audio.rate": 8000, "video.rate": 8.0, **(settings or {})},
        "generations": [{
            "number": 0, "plan": "0123456789ab", "decoders": dict.fromkeys(modalities, "by hand 1"),
            "shards": tars, "index": parquet(place / INDEX, rows, INDEX_COLUMNS),
        }],
        "decoders": dict.fromkeys(modalities, "by hand 1"),
        "quarantine": parquet(place / QUARANTINE, REFUSED, QUARANTINE_COLUMNS),
    }  # fmt: skip
    publish(place, manifest)
    return Shards.open(str(place))


def written(
    path: Path, split: str, make: Make, numbers: range, sums: statistics.Sums
) -> Iterator[dict[str, Any]]:
    """One tar; gives the rows of its samples."""
    with path.open("xb") as file:
        tar = TarWriter(file)
        for number in numbers:
            key, label = f"{number:024x}", CLASSES[number % len(CLASSES)]
            source = f"{label}/{number:03d}.file"
            arrays = make(np.random.default_rng(number), label)
            stored = [asdict(tar.add_array(key, *item)) for item in arrays.items()]
            tar.add_text(key, "json", json.dumps({"label": label, "source": source, "split": split}))
            if split == "train":
                for item in arrays.items():
                    statistics.add_array(sums, *item)
            yield {"key": key, "split": split, "label": label, "shard": path.name, "source": source,
                   "source_sha256": "", "arrays": stored}  # fmt: skip
        tar.finish()


def parquet(folder: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> dict[str, Any]:
    """A Parquet file, and what the manifest says of it."""
    folder.mkdir(exist_ok=True)
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), sink)
    sha256 = hashlib.sha256(sink.getvalue()).hexdigest()
    name = f"g0000-{sha256[:12]}.parquet"
    (folder / name).write_bytes(sink.getvalue())
    return {"name": name, "sha256": sha256, "rows": len(rows)}


def publish(place: Path, manifest: dict[str, Any]) -> None:
    """Seal a manifest and write it."""
    (place / MANIFEST).write_text(json.dumps({**manifest, "digest": seal(manifest)}))


def manifest_of(place: Path) -> dict[str, Any]:
    """The manifest as it stands."""
    return json.loads((place / MANIFEST).read_bytes())
