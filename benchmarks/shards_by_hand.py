"""Finished shards of arrays that are at hand: no raw files, no decoding, no Ray."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


@dataclass(frozen=True, kw_only=True)
class Given:
    """One sample."""

    arrays: Mapping[str, NDArray[Any]]
    """By modality."""
    split: str = "train"
    label: str = "a"
    """Its class, or several separated by `;`."""


def write(
    place: Path, generations: Sequence[Sequence[Given]], *, shard_size: int = 10, several: bool = False
) -> Shards:
    """Shards whose samples are those of each generation in turn, split by split."""
    parts = [generation(place, number, given, shard_size) for number, given in enumerate(generations)]
    every = [one for given in generations for one in given]
    modalities = list(every[0].arrays)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "number": len(parts) - 1,
        "parent": "",
        "several": several,
        "classes": sorted({name for one in every for name in one.label.split(";") if name}),
        "counts": {split: sum(one.split == split for one in every) for split in ("train", "val", "test")},
        "found": len(every),
        "accepted_files": len(every),
        "quarantined": 0,
        "litter": 0,
        "unread": "",
        "settings": {"modalities": modalities},
        "decoders": {},
        "statistics": {},
        "generations": parts,
        "quarantine": parquet(place / QUARANTINE, "none", QUARANTINE_COLUMNS.empty_table()),
    }
    manifest["digest"] = seal(manifest)
    (place / MANIFEST).write_text(json.dumps(manifest))
    return Shards.open(str(place))


def generation(place: Path, number: int, given: Sequence[Given], shard_size: int) -> dict[str, Any]:
    """The tars of one addition of samples, and their part of the index."""
    tars, rows = [], []
    for at, (split, part) in enumerate(planned(given, shard_size)):
        tar, its = one_tar(place, f"{split}-g{number:04d}-{at:05d}-{'0' * 12}.tar", part)
        tars.append(tar)
        rows += its
    index = parquet(place / INDEX, f"g{number:04d}", pa.Table.from_pylist(rows, schema=INDEX_COLUMNS))
    return {"number": number, "plan": "0" * 12, "decoders": {}, "shards": tars, "index": index}


def planned(given: Sequence[Given], shard_size: int) -> Iterator[tuple[str, list[Given]]]:
    """The samples of each shard."""
    for split in ("train", "val", "test"):
        mine = [one for one in given if one.split == split]
        for begin in range(0, len(mine), shard_size):
            yield split, mine[begin : begin + shard_size]


def one_tar(place: Path, name: str, given: Sequence[Given]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Write a shard; its entry of the manifest, and its rows of the index."""
    place.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    with (place / name).open("wb") as file:
        tar = TarWriter(file)
        for at, one in enumerate(given):
            key = hashlib.sha256(f"{name} {at}".encode()).hexdigest()[:24]
            arrays = [asdict(tar.add_array(key, *item)) for item in one.arrays.items()]
            facts = {"label": one.label, "source": f"{name}/{at}", "split": one.split}
            tar.add_text(key, "json", json.dumps(facts))
            rows.append({"key": key, "shard": name, "source_sha256": "", "arrays": arrays, **facts})
        tar.finish()
    with (place / name).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    size = (place / name).stat().st_size
    return {"name": name, "sha256": sha256, "bytes": size, "samples": len(rows), "removed": 0}, rows


def parquet(folder: Path, name: str, table: pa.Table) -> dict[str, Any]:
    """Write a table; its entry of the manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, compression="zstd")
    return {"name": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "rows": len(table)}


def noise(seed: int, shape: Sequence[int] = (224, 224, 3)) -> NDArray[np.uint8]:
    """Bytes that nothing can compress."""
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
