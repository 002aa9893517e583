"""Makes finished shards a version: index, quarantine, ledger, and last of all the manifest.

What a version supersedes goes to `versions/` before, so that a kill at any point leaves either the old
version or the new one, and the old one can be opened for ever.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import Store
from preprocessing import statistics
from preprocessing.build import WORK, finished, plan_name, rows_name, sidecar_name
from preprocessing.columns import Columns, compute
from preprocessing.history import LEDGER, NOTES, Match, Past, ledger_name, refreshed
from preprocessing.inventory import printable
from preprocessing.plan import Plan, Planned
from preprocessing.settings import SPLITS
from preprocessing.shards import (
    FORMAT,
    INDEX,
    INDEX_COLUMNS,
    MANIFEST,
    QUARANTINE,
    QUARANTINE_COLUMNS,
    VERSIONS,
    Generation,
    Shards,
    Tar,
    past_name,
    rows,
    seal,
    table,
)
from preprocessing.statistics import Sums
from preprocessing.tables import publish_table, replace_table

WRITERS = 8


def unfinished(home: Store, plan: Plan) -> list[Planned]:
    """The shards that no attempt has finished; their part of the plan is written for the tasks."""

    def pending(planned: Planned) -> bool:
        text = plan.work(planned).text()
        if finished(home, planned.name, text) is not None:
            return False
        home.write(plan_name(planned.name), text)
        return True

    with ThreadPoolExecutor(WRITERS) as pool:
        return [one for one, yes in zip(plan.all, pool.map(pending, plan.all), strict=True) if yes]


def prove(home: Store, plan: Plan, past: Past) -> None:
    """Stop where a shard that was lost did not come out as it had been."""
    promised = {tar.name: tar.sha256 for tar in past.shards.tars} if past.shards else {}
    for planned in plan.lost:
        shard = json.loads(home.read(sidecar_name(planned.name)))["shard"]
        if shard["sha256"] != promised[shard["name"]]:
            home.remove(shard["name"])
            raise UserError(
                f"{home.place}/{shard['name']} was lost and cannot be built again as it was: a raw file has "
                f"other content under the same size and time, or a decoder was updated. Shard again with "
                f"--data.verify-content true: what changed becomes new samples."
            )


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
        bad = {row["source"] for row in sidecar["refused"]}
        add_notes(notes, plan, planned, sidecar["keys"], bad)
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


def add_notes(notes: Columns, plan: Plan, planned: Planned, keys: list[str], bad: set[str]) -> None:
    """The ledger's rows of one new shard."""
    samples = plan.samples
    for member, key, paths in zip(planned.members, keys, samples.paths(planned.members), strict=True):
        accepted = not bad or printable(paths[0]) not in bad
        notes.add(
            samples.signature[member].tobytes(), int(samples.stamp[member]), key, planned.name, accepted
        )


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


def same(done: Gathered, past: Past, matched: Match) -> bool:
    """Whether the raw files make no other version than the one that is there; litter makes none."""
    shards = past.shards
    if shards is None or done.tars or len(kept_members(past, matched)) < int(past.accepted().sum()):
        return False
    counted = done.refused.filter(done.refused["counts"]).drop_columns("counts")
    before = {tuple(row.values()) for row in shards.refused().to_pylist()}
    return counted.num_rows == shards.quarantined - shards.litter and all(
        tuple(row.values()) in before for row in counted.to_pylist()
    )


def note_again(home: Store, shards: Shards, done: Gathered) -> None:
    """Remember the files' stamps as they are now; the version stays."""
    replace_table(home, ledger_name(shards.number), done.notes)
    sweep(home, shards, set())


def commit(home: Store, plan: Plan, past: Past, matched: Match, done: Gathered) -> Shards:
    """Publish; from here on readers see this version."""
    before = kept_generations(home, past, matched)
    index = publish_table(home, INDEX, plan.generation, new_rows(home, plan), INDEX_COLUMNS)
    generations = before.generations
    if done.tars:
        generations += (Generation(
            number=plan.generation, plan=plan.hash, decoders=plan.decoders, tars=done.tars, index=index,
        ),)  # fmt: skip
    quarantine = publish_table(
        home, QUARANTINE, plan.generation, [done.refused.drop_columns("counts")], QUARANTINE_COLUMNS
    )
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "number": plan.generation,
        "parent": past.shards.digest if past.shards else "",
        "settings": plan.stored,
        "decoders": plan.decoders,
        "classes": list(plan.samples.classes()),
        "several": plan.samples.several,
        "counts": done.counts,
        "found": plan.samples.found,
        "accepted_files": done.accepted_files,
        "quarantined": done.refused.num_rows,
        "litter": compute.sum(compute.invert(done.refused["counts"]), min_count=0).as_py(),
        "unread": unread(plan.samples.refused),
        "statistics": sums_of(home, past, before, done.sums),
        "generations": [described(one) for one in generations],
        "quarantine": asdict(quarantine),
    }
    manifest["digest"] = seal(manifest)
    replace_table(home, ledger_name(plan.generation), done.notes)
    home.write(MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    shards = Shards.of(home.place, manifest)
    sweep(home, shards, set())
    return shards


def described(generation: Generation) -> dict[str, Any]:
    """A generation as the manifest has it."""
    whole = asdict(generation)
    return {**{name: whole[name] for name in ("number", "plan", "decoders", "index")},
            "shards": list(whole["tars"])}  # fmt: skip


def unread(refused: pa.Table) -> str:
    """Recognises the inputs that were refused before any was read, litter left out."""
    counted = refused.filter(refused["counts"]).select(["source", "modality", "reason"])
    return hashlib.sha256(json.dumps(counted.to_pydict()).encode()).hexdigest()


def new_rows(home: Store, plan: Plan) -> Iterator[pa.Table]:
    """The rows of the index of each new shard."""
    for planned in plan.new:
        yield rows(home, rows_name(planned.name), None)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What earlier generations still hold."""

    generations: tuple[Generation, ...]
    dropped: tuple[pa.Table, ...]
    """Rows of the index that this version no longer has."""


def kept_generations(home: Store, past: Past, matched: Match) -> Kept:
    """Earlier generations without the samples that are gone; what they replace goes to `versions/`."""
    shards = past.shards
    if shards is None:
        return Kept(generations=(), dropped=())
    archive(
        home, f"{VERSIONS}/{QUARANTINE}/{shards.quarantine.name}", f"{QUARANTINE}/{shards.quarantine.name}"
    )
    archive(home, past_name(shards.digest), MANIFEST)
    gone = (matched.sample(len(past.shard)) < 0) & past.accepted()
    keys = pa.array(past.keys()[gone].tolist(), pa.string())
    changed = {f"{past.names[at]}.tar" for at in np.unique(past.shard[gone]).tolist()}
    generations: list[Generation] = []
    dropped: list[pa.Table] = []
    for generation in shards.generations:
        if changed.isdisjoint(tar.name for tar in generation.tars):
            generations.append(generation)
            continue
        archive(home, f"{VERSIONS}/{INDEX}/{generation.index.name}", f"{INDEX}/{generation.index.name}")
        index = table(home, INDEX, generation.index, None)
        leaves = compute.is_in(index["key"], value_set=keys)
        dropped.append(index.filter(leaves))
        generations += without(home, generation, index.filter(compute.invert(leaves)))
    return Kept(generations=tuple(generations), dropped=tuple(dropped))


def without(home: Store, generation: Generation, index: pa.Table) -> list[Generation]:
    """The generation with these rows alone; none where there is no row."""
    if not index.num_rows:
        return []
    left = {one["values"]: one["counts"] for one in compute.value_counts(index["shard"]).to_pylist()}
    tars = tuple(
        replace(tar, removed=tar.samples - left[tar.name]) for tar in generation.tars if tar.name in left
    )
    part = publish_table(home, INDEX, generation.number, [index], INDEX_COLUMNS)
    return [replace(generation, tars=tars, index=part)]


def archive(home: Store, name: str, of: str) -> None:
    """Keep a file of the version that is about to be replaced."""
    if home.size(name) != home.size(of):
        home.write(name, home.read(of))


def sums_of(home: Store, past: Past, kept: Kept, new: Sums) -> Sums:
    """The sums of the version before, less what left, and what came: whole numbers, so it is exact."""
    sums: Sums = {}
    if past.shards:
        statistics.add(sums, past.shards.statistics)
    try:
        for modality, array in arrays_of(home, kept.dropped):
            statistics.add_array(sums, modality, array, sign=-1)
    except (FileNotFoundError, ValueError):  # What left lay in a shard that is lost: count what is left.
        sums = {}
        for modality, array in arrays_of(
            home, (table(home, INDEX, one.index, None) for one in kept.generations)
        ):
            statistics.add_array(sums, modality, array)
    statistics.add(sums, new)
    return sums


def arrays_of(home: Store, indexes: Iterable[pa.Table]) -> Iterator[tuple[str, NDArray[Any]]]:
    """Modality and array of every training sample in these rows.

    Raises:
        FileNotFoundError: a shard is gone.
        ValueError: a shard is cut short.
    """
    for index in indexes:
        for row in index.filter(compute.equal(index["split"], "train")).to_pylist():
            for array in row["arrays"]:
                data = home.read_range(row["shard"], array["offset"], array["length"])
                yield array["modality"], np.frombuffer(data, array["dtype"]).reshape(array["shape"])


OURS = re.compile(r"g\d{4,}-[0-9a-f]{12}\.parquet")
SIDE = re.compile(r"(.+)\.(plan\.json|rows\.parquet|done\.json)")


def sweep(home: Store, shards: Shards | None, building: set[str]) -> None:
    """Remove what attempts that died left behind, but the shards in `building`; never anything else.

    A shard is such a leftover where the plan of an attempt names it and no version holds it.
    """
    home.sweep()
    named = {tar.name for tar in shards.tars} if shards else set()
    for found in [*home.list(f"{WORK}/")]:
        side = SIDE.fullmatch(found.name.removeprefix(f"{WORK}/"))
        if side and side[1] not in building:
            if side[2] == "plan.json" and f"{side[1]}.tar" not in named:
                home.remove(f"{side[1]}.tar")
            home.remove(found.name)
    parts = (
        {INDEX: [one.index.name for one in shards.generations], QUARANTINE: [shards.quarantine.name]}
        if shards
        else {}
    )
    for folder in (INDEX, QUARANTINE):
        for found in [*home.list(f"{folder}/")]:
            name = found.name.removeprefix(f"{folder}/")
            if OURS.fullmatch(name) and name not in parts.get(folder, []):
                home.remove(found.name)
    for found in [*home.list(f"{LEDGER}/")]:
        if shards and found.name != ledger_name(shards.number):
            home.remove(found.name)
