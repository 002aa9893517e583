"""Makes finished shards a version: index, quarantine, ledger, and last of all the manifest.

What a version supersedes goes to `versions/` before, so that a kill at any point leaves either the old
version or the new one, and the old one can be opened for ever.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import Store
from preprocessing import statistics
from preprocessing.build import finished, plan_name, rows_name, sidecar_name
from preprocessing.columns import compute
from preprocessing.gathering import Gathered
from preprocessing.history import Match, Past, ledger_name
from preprocessing.leftovers import sweep
from preprocessing.overtaken import refuse_overtaken
from preprocessing.plan import Plan, Planned
from preprocessing.settings import DataSettings
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
    past_name,
    rows,
    seal,
    table,
)
from preprocessing.statistics import Sums
from preprocessing.tables import publish_table, replace_table

WRITERS = 8

Check = Callable[[], None]
"""Raises where whoever shards may write no more."""


def unchecked() -> None:
    """Whoever shards has nobody beside him."""


def unfinished(home: Store, plan: Plan, settings: DataSettings) -> list[Planned]:
    """The shards that no attempt has finished; their part of the plan is written for the tasks."""

    def pending(planned: Planned) -> bool:
        text = plan.work(planned).text()
        if finished(home, planned.name, text, settings) is not None:
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
                f"other content under the same size and time. Shard again with --data.verify-content true: "
                f"what changed becomes new samples. If this comes again, a decoder gives other values here: "
                f"delete manifest.json and shard again, then everything is built anew."
            )


def note_again(home: Store, shards: Shards, done: Gathered) -> None:
    """Remember the files' stamps as they are now; the version stays."""
    replace_table(home, ledger_name(shards.number), done.notes)
    sweep(home, shards, set())


def commit(
    home: Store, plan: Plan, past: Past, matched: Match, done: Gathered, sealing: Check = unchecked
) -> Shards:
    """Publish, unless `sealing` objects at the last moment; from here on readers see this version."""
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
    refuse_overtaken(home, past.shards)
    sealing()
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
        index = table(home, INDEX, generation.index, None)
        archive(home, f"{VERSIONS}/{INDEX}/{generation.index.name}", f"{INDEX}/{generation.index.name}")
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
    if (size := home.size(of)) >= 0 and home.size(name) != size:
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
