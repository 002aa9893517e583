"""Proves that a version of the shards is what its manifest says: every byte, every sample, every count.

It goes on after a fault and tells all. A shard at a time passes through memory, several at once on threads:
hashing and reading let go of the interpreter.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa

from cluster.mistake import UserError
from cluster.storage import Store
from preprocessing import statistics, table_bytes
from preprocessing.columns import compute
from preprocessing.examining import Examined, Fault, Faults, examine
from preprocessing.manifests import is_broken, manifests, names, removed
from preprocessing.settings import SPLITS
from preprocessing.shard_rows import RowsOfShards
from preprocessing.shards import (
    INDEX,
    MANIFEST,
    QUARANTINE,
    RESTORE,
    VERSIONS,
    Generation,
    Shards,
    Table,
    Tar,
    existing,
    past_name,
)  # fmt: skip
from preprocessing.statistics import Sums

Progress = Callable[[int, int], None]
"""Called with the samples that were looked at, and all of them."""

AGAIN = "delete it and shard again: it is built anew, bit for bit"
ANEW = "delete it and shard again: what is left of its raw files goes into a new shard"
OLD = "restore it from a copy: the newest version does without it, so it is never built again"
COLUMNS = ("key", "split", "label", "shard", "source", "arrays")
THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What was found out about a version."""

    place: str
    digest: str
    """Of the manifest; empty where that is damaged."""
    shards: int
    damaged: tuple[str, ...]
    """The shards that have a fault."""
    samples: int
    quarantined: int
    faults: tuple[Fault, ...]
    untold: int
    """Faults over the first 20 of a file."""
    strangers: tuple[str, ...]
    """Shards and tables in the place that no version names; no fault."""


def verify(place: str, version: str, progress: Progress) -> Verdict:
    """Look at every byte of the newest version, or of the one whose digest begins with `version`.

    Raises:
        UserError: there are no shards, or no such version.
    """
    home = existing(place)
    try:
        shards = Shards.open(place, version)
    except UserError as error:
        places = [MANIFEST, past_name(version)] if version else [MANIFEST]
        broken = [name for name in places if is_broken(home, name)]
        if not broken:
            raise
        return _no_manifest(place, broken[0], str(error))
    return _Version(shards, home, progress).verdict()


def _no_manifest(place: str, name: str, what: str) -> Verdict:
    fault = Fault(file=name, key="", what=what, way_out=RESTORE)
    return Verdict(place=place, digest="", shards=0, damaged=(), samples=0, quarantined=0, faults=(fault,),
                   untold=0, strangers=())  # fmt: skip


class _Version:
    """A version while it is looked at."""

    def __init__(self, shards: Shards, home: Store, progress: Progress) -> None:
        self.shards = shards
        self.home = home
        self.progress = progress
        self.faults: list[Faults] = []
        self.keys: list[pa.ChunkedArray] = []
        self.sums: Sums = {}
        self.splits: Counter[str] = Counter()
        self.removed = removed(next(manifests(home)))
        """Samples removed of each shard of the newest version."""
        self.total = sum(tar.samples for tar in shards.tars)
        self.done = 0
        self.whole = True
        """Whether every index could be read."""

    def verdict(self) -> Verdict:
        for generation in self.shards.generations:
            self._generation(generation)
        damaged = tuple(one.file for one in self.faults if one.told and one.file.endswith(".tar"))
        self._quarantine()
        self._keys()
        if self.whole:
            self._counts(sums=not damaged)
        told = [fault for one in self.faults for fault in one.told]
        return Verdict(
            place=self.shards.place, digest=self.shards.digest, shards=len(list(self.shards.tars)),
            damaged=damaged, samples=sum(self.shards.counts.values()), quarantined=self.shards.quarantined,
            faults=tuple(told), untold=sum(one.untold for one in self.faults),
            strangers=tuple(sorted(self._strangers())),
        )  # fmt: skip

    def _generation(self, generation: Generation) -> None:
        index = self._table(INDEX, generation.index, COLUMNS)
        rows = None if index is None else RowsOfShards(index)
        if index is None or rows is None:
            self.whole = False
        else:
            self.keys.append(index["key"])
            self._other_shards(rows, generation)

        def look(number: int) -> Examined:
            tar = generation.tars[number]
            faults = Faults(file=tar.name, way_out=self._way_out(tar))
            return examine(faults, tar, rows and rows.of(tar.name), self.shards)

        with ThreadPoolExecutor(THREADS) as pool:
            for tar, seen in zip(generation.tars, pool.map(look, range(len(generation.tars))), strict=True):
                self._add(seen)
                self.done += tar.samples
                self.progress(self.done, self.total)

    def _way_out(self, tar: Tar) -> str:
        """How a damaged shard is mended; only the newest version's shards are built again."""
        if tar.name not in self.removed:
            return OLD
        return ANEW if self.removed[tar.name] else AGAIN

    def _add(self, seen: Examined) -> None:
        self.faults.append(seen.faults)
        self.splits.update(seen.splits)
        statistics.add(self.sums, seen.sums)

    def _new(self, file: str, way_out: str) -> Faults:
        faults = Faults(file=file, way_out=way_out)
        self.faults.append(faults)
        return faults

    def _table(self, folder: str, part: Table, columns: tuple[str, ...]) -> pa.Table | None:
        """A Parquet file, proven; none where it is gone or cannot be read."""
        name = f"{folder}/{part.name}"
        faults = self._new(name, RESTORE)
        data = _content(self.home, name)
        if data is None:
            faults.add(f"is gone, with {part.rows:,} rows")
            return None
        if (sha256 := hashlib.sha256(data).hexdigest()) != part.sha256:
            faults.add(f"has the sha256 {sha256[:12]}, the manifest says {part.sha256[:12]}")
        try:
            table = table_bytes.parquet(data)
        except (pa.ArrowException, OSError) as error:
            faults.add(f"cannot be read: {error}")
            return None
        if table.num_rows != part.rows:
            faults.add(f"has {table.num_rows:,} rows, the manifest says {part.rows:,}")
        if lacking := [column for column in columns if column not in table.column_names]:
            faults.add(f"has no column {', '.join(lacking)}")
            return None
        return table.select(columns)

    def _other_shards(self, rows: RowsOfShards, generation: Generation) -> None:
        known = {tar.name for tar in generation.tars}
        faults = self._new(f"{INDEX}/{generation.index.name}", RESTORE)
        for name, count in rows.counts().items():
            if name not in known:
                faults.add(f"{count:,} samples lie in {name}, a shard that the manifest does not name")

    def _quarantine(self) -> None:
        self._table(QUARANTINE, self.shards.quarantine, ("source", "reason"))

    def _keys(self) -> None:
        if not self.keys:
            return
        keys = pa.chunked_array([chunk for part in self.keys for chunk in part.chunks], self.keys[0].type)
        counted = pa.Table.from_struct_array(keys.value_counts())
        twice = counted.filter(compute.greater(counted["counts"], 1))
        faults = self._new(INDEX, RESTORE)
        for one in twice.to_pylist():
            faults.add(f"the key is there {one['counts']} times", one["values"])

    def _counts(self, sums: bool) -> None:
        """The manifest's numbers against those counted; sums only where all that is summed up is whole."""
        shards = self.shards
        faults = self._new(MANIFEST, RESTORE)
        for split in sorted({*SPLITS, *self.splits, *shards.counts}):
            said, counted = shards.counts.get(split, 0), self.splits[split]
            if said != counted:
                faults.add(f"says {said:,} samples of {split}, the index holds {counted:,}")
        if shards.accepted_files + shards.quarantined != shards.found:
            faults.add(f"says {shards.found:,} inputs were found, and accounts for {shards.accepted_files:,} "
                       f"accepted and {shards.quarantined:,} quarantined")  # fmt: skip
        if shards.quarantine.rows != shards.quarantined:
            faults.add(f"says {shards.quarantined:,} quarantined in {shards.quarantine.rows:,} rows")
        if sums:
            for modality in sorted({*shards.statistics, *self.sums}):
                if shards.statistics.get(modality) != self.sums.get(modality):
                    faults.add(f"its statistics of {modality} are not those of the training samples")

    def _strangers(self) -> Iterator[str]:
        named = {name for manifest in manifests(self.home) for name in names(manifest)}
        for one in self.home.list():
            folder = one.name.removeprefix(f"{VERSIONS}/").rpartition("/")[0]
            name = one.name.rpartition("/")[2]
            ours = name.endswith(".tar") if not folder else folder in (INDEX, QUARANTINE)
            if ours and not name.startswith(".") and name not in named:
                yield one.name


def _content(home: Store, name: str) -> bytes | None:
    """A file of the newest version or of an earlier one."""
    for path in (name, f"{VERSIONS}/{name}"):
        try:
            return home.read(path)
        except FileNotFoundError:
            continue
    return None
