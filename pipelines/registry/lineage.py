"""From a model version back to the raw files, and from shards or a raw file to the model versions.

What lies in a place that is gone meanwhile is said to be gone; the rest is told all the same.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.mistake import UserError
from cluster.storage import whole_file
from pipelines.tracking import mlflow_lineage, reach
from pipelines.tracking.mlflow_champion import Champions
from pipelines.tracking.mlflow_lineage import Run, Version
from preprocessing.columns import compute
from preprocessing.describing import reasons
from preprocessing.manifests import manifests
from preprocessing.shards import QUARANTINE, VERSIONS, Shards, existing

RAW = ["source", "source_sha256", "split", "label", "key", "shard"]
"""Columns of the list of raw files."""


def lineage(uri: str, version: Version, alias: str, port: int) -> dict[str, Any]:
    """All that is known of where a version came from, as JSON has it."""
    run, tags = mlflow_lineage.run(uri, version.run_id), version.tags
    shards, why = shards_of(run, version)
    return {
        "model": version.model, "version": version.version, "aliases": version.aliases,
        "created": version.created, "weights": tags.get("weights", ""), "tracking_uri": uri,
        "run": run and _run(uri, run, port),
        "code": {name: value for name, value in tags.items() if name.startswith("code.")},
        "shards": _shards(run, version, shards, why), "raw": _raw(run, shards),
        "settings": dict(run.params) if run else {}, "warm_start": tags.get("warm_start", "none"),
        "gate": {name: value for name, value in tags.items() if name.startswith("gate.")},
        "champions": [asdict(move) for move in Champions(uri, version.model, alias).moves()],
    }  # fmt: skip


def shards_of(run: Run | None, version: Version) -> tuple[Shards | None, str]:
    """The shards that it learnt from, in the version of then; or why they are not to be had."""
    if run is None or not run.place:
        return None, "its run is gone, and with it where they lay"
    try:
        return Shards.open(run.place, version.tags["shards"]), ""
    except UserError as error:
        return None, str(error)


def write_files(shards: Shards, path: Path) -> int:
    """Every sample's raw file as a Parquet file; how many.

    Of a sample of several files it is the first; `key` recognises the content of all of them.
    """
    table = shards.index(RAW)
    with whole_file(path) as file:
        pq.write_table(table, file)
    return table.num_rows


@dataclass(frozen=True, kw_only=True)
class Heir:
    """A version that came from what was asked for."""

    model: str
    version: int
    aliases: tuple[str, ...]
    digest: str
    """Of the shards."""
    how: str
    """`learnt from it`, `measured on it`, or what became of the file."""


def of_shards(uri: str, place: str) -> Iterator[Heir]:
    """The versions that learnt from any version of these shards.

    Raises:
        UserError: there are none at this place.
    """
    digests = {str(one["digest"]) for one in manifests(existing(place))}
    if not digests:
        raise UserError(f"{place} holds no finished shards: no manifest.json there.")
    for one in mlflow_lineage.versions(uri):
        if one.tags["shards"] in digests:
            yield _heir(one, "learnt from it")


def of_source(uri: str, source: str) -> tuple[list[Heir], list[Heir]]:
    """The versions whose shards hold this raw file; and those of which it is not known, with the reason."""
    path, found, unknown = Path(source), list[Heir](), list[Heir]()
    content = _sha256(path) if path.is_file() else ""
    looked: dict[tuple[str, str], str] = {}
    for one in mlflow_lineage.versions(uri):
        run = mlflow_lineage.run(uri, one.run_id)
        place = (run.place if run else "", one.tags["shards"])
        if place not in looked:
            shards, why = shards_of(run, one)
            looked[place] = _fate(shards, _below(source, run), content) if shards else f"?{why}"
        if looked[place].startswith("?"):
            unknown.append(_heir(one, looked[place][1:]))
        elif looked[place]:
            found.append(_heir(one, looked[place]))
    return found, unknown


def _fate(shards: Shards, names: set[str], content: str) -> str:
    """What became of a raw file in these shards; empty where they never saw it."""
    index = shards.index(["source", "source_sha256", "split"])
    several = len(shards.modalities) > 1  # the index names one of a sample's files, which share their stem
    wanted = pa.array(sorted(_stems(names) if several else names), pa.string())
    sources = (
        compute.replace_substring_regex(index["source"], r"\.[^./]*$", "") if several else index["source"]
    )
    here = compute.or_(
        compute.is_in(sources, value_set=wanted), compute.equal(index["source_sha256"], content or "none")
    )
    splits = set(compute.unique(index["split"].filter(here)).to_pylist())
    if "train" in splits:
        return "learnt from it"
    if splits:
        return f"measured on it ({', '.join(sorted(splits))})"
    refused = shards.refused()
    reasons = refused["reason"].filter(compute.is_in(refused["source"], value_set=pa.array(sorted(names))))
    return f"refused it: {reasons[0].as_py()}" if len(reasons) else ""


def _below(source: str, run: Run | None) -> set[str]:
    """How the index may call this file: as it was given, and below the raw folder."""
    names, raw = {source}, run.params.get("data.raw", "").rstrip("/") if run else ""
    for given in (source, str(Path(source).absolute())):
        for folder in (raw, str(Path(raw).absolute()) if raw and ":" not in raw else raw):
            if folder and given.startswith(f"{folder}/"):
                names.add(given[len(folder) + 1 :])
    return names


def _stems(names: set[str]) -> set[str]:
    return {str(PurePosixPath(name).with_suffix("")) for name in names}


def _heir(version: Version, how: str) -> Heir:
    return Heir(
        model=version.model, version=version.version, aliases=version.aliases,
        digest=version.tags["shards"], how=how,
    )  # fmt: skip


def _run(uri: str, run: Run, port: int) -> dict[str, Any]:
    return {
        "id": run.id, "name": run.name, "status": run.status, "files": dict(run.files),
        "link": reach.link(uri, port, (run.experiment, run.id)),
    }  # fmt: skip


def _shards(run: Run | None, version: Version, shards: Shards | None, why: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "place": run.place if run else "",
        "digest": version.tags.get("shards", ""),
        "gone": why,
    }
    return told | ({"samples": shards.counts, "parent": shards.parent} if shards else {})


def _raw(run: Run | None, shards: Shards | None) -> dict[str, Any]:
    told: dict[str, Any] = {"place": run.params.get("data.raw", "") if run else ""}
    if shards is None:
        return told
    quarantine: Mapping[str, int] = {one.reason: one.inputs for one in reasons(shards.refused())}
    return told | {
        "found": shards.found, "accepted": shards.accepted_files, "quarantined": shards.quarantined,
        "quarantine": _quarantine(shards), "reasons": quarantine,
    }  # fmt: skip


def _quarantine(shards: Shards) -> str:
    """Where the list of refused files lies, of the newest version or of an earlier one."""
    name, home = f"{QUARANTINE}/{shards.quarantine.name}", shards.store()
    return f"{shards.place}/{name if home.size(name) >= 0 else f'{VERSIONS}/{name}'}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
