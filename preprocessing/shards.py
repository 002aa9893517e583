"""The artifact that sharding leaves behind: where it is, what it holds, from which settings.

`manifest.json` is written last; readers see what it names and nothing else. Each state of the data set is a
version: a generation of new shards on top of its parent's, known by the digest of its manifest. Manifests and
index files of earlier versions stay in `versions/`, so that each of them can be opened again.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cluster.folder import Folder
from cluster.mistake import UserError
from cluster.storage import Store, is_bucket, local_path, store
from preprocessing import table_bytes
from preprocessing.statistics import Sums

FORMAT = 2
MANIFEST = "manifest.json"
INDEX = "index.parquet"
QUARANTINE = "quarantine.parquet"
VERSIONS = "versions"

RESTORE = "Restore it from a copy, or delete manifest.json and shard again: then everything is built anew."

ARRAY = pa.struct(
    [
        ("modality", pa.string()),
        ("dtype", pa.string()),
        ("shape", pa.list_(pa.int64())),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("crc32", pa.int64()),
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
class Tar:
    """One shard."""

    name: str
    """File name, `train-g0000-00000-<hash of the plan>.tar`."""
    sha256: str
    bytes: int
    samples: int
    """Samples in the tar."""
    removed: int
    """Those of them that this version no longer holds: their raw files were changed or deleted since."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One Parquet file of the index or the quarantine."""

    name: str
    """File name, `g0000-<begin of its sha256>.parquet`."""
    sha256: str
    rows: int


@dataclass(frozen=True, kw_only=True)
class Generation:
    """The shards that one addition of files made."""

    number: int
    plan: str
    """The plan's hash, as it stands in the names of the shards."""
    decoders: dict[str, str]
    """Decoder and library versions by modality."""
    tars: tuple[Tar, ...]
    """Those that hold samples of this version."""
    index: Table
    """Where the samples lie, in the order of the plan."""


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A finished set of shards."""

    place: str
    """Folder of the shards, or its URI."""
    digest: str
    """sha256 of the whole manifest, and through it of every byte of every shard."""
    number: int
    """Counts the versions, from 0; new shards carry it as their generation."""
    parent: str
    """Digest of the version before this one; empty where there is none."""
    classes: tuple[str, ...]
    """Class names; a label is its class's place in this order."""
    several: bool
    """Whether a sample may have several labels (in the index separated by `;`) instead of exactly one."""
    counts: dict[str, int]
    """Samples per split: train, val and test, all three always there."""
    found: int
    """Inputs: the files below the raw folder, and the rows of the label table that name none of them."""
    accepted_files: int
    """Files of accepted samples; a sample of several modalities may have several."""
    quarantined: int
    """Inputs refused, each a row of the quarantine."""
    litter: int
    """Those of them that do not count towards `max_refused`."""
    unread: str
    """Recognises the inputs that were refused before any was read, litter left out."""
    modalities: tuple[str, ...]
    """What every sample holds."""
    settings: dict[str, Any]
    """The settings that decided what is stored, by their name below `data.`."""
    decoders: dict[str, str]
    """Decoder and library versions of the newest shards, by modality; each generation has its own."""
    statistics: Sums
    """By modality of whole numbers: `count` of values per channel, exact `sum` and `sum_of_squares` per
    channel, over the training split."""
    generations: tuple[Generation, ...]
    """From the oldest to the newest; their indexes one behind the other are the index."""
    quarantine: Table

    @classmethod
    def open(cls, place: str, version: str = "") -> "Shards":
        """Read the manifest of the newest version, or of the one whose digest begins with `version`.

        Raises:
            UserError: there is none, it is damaged, or it is of another format.
        """
        home = existing(place)
        name = MANIFEST
        try:
            manifest = opened(home, name)
            if not manifest["digest"].startswith(version):
                name = past_name(version)
                manifest = opened(home, name)
        except FileNotFoundError:
            if name != MANIFEST:
                raise UserError(
                    f"{place} holds no version {version}: no {name} there. Its manifest names its parent."
                ) from None
            raise UserError(f"{place} holds no finished shards: no {MANIFEST} there. Run `shard`.") from None
        if not manifest["digest"].startswith(version):
            raise UserError(f"{place} holds no version {version}; {name} is that of {manifest['digest']}.")
        return cls.of(place, manifest)

    @classmethod
    def of(cls, place: str, manifest: dict[str, Any]) -> "Shards":
        """The artifact that a manifest describes."""
        known = {name: manifest[name] for name in (
            "digest", "number", "parent", "unread", "several", "counts", "found", "accepted_files",
            "quarantined", "litter", "settings", "decoders", "statistics",
        )}  # fmt: skip
        generations = tuple(
            Generation(
                number=one["number"], plan=one["plan"], decoders=one["decoders"],
                tars=tuple(Tar(**tar) for tar in one["shards"]), index=Table(**one["index"]),
            )
            for one in manifest["generations"]
        )  # fmt: skip
        return cls(
            place=place,
            classes=tuple(manifest["classes"]),
            modalities=tuple(manifest["settings"]["modalities"]),
            generations=generations,
            quarantine=Table(**manifest["quarantine"]),
            **known,
        )

    @property
    def tars(self) -> Iterator[Tar]:
        """All shards, in the order of the index."""
        for generation in self.generations:
            yield from generation.tars

    def store(self) -> Store:
        """Where the files lie."""
        return existing(self.place)

    def index(self, columns: list[str] | None = None) -> pa.Table:
        """The samples of all splits, in the order of the index."""
        home = self.store()
        tables = [table(home, INDEX, one.index, columns) for one in self.generations]
        return pa.concat_tables([INDEX_COLUMNS.empty_table().select(columns or INDEX_COLUMNS.names), *tables])

    def missing(self) -> list[str]:
        """Shards that are not there in full, without their ending."""
        sizes = {found.name: found.size for found in self.store().list() if "/" not in found.name}
        return [tar.name.removesuffix(".tar") for tar in self.tars if sizes.get(tar.name) != tar.bytes]

    def refused(self) -> pa.Table:
        """The quarantine."""
        return table(self.store(), QUARANTINE, self.quarantine, None)


def table(home: Store, folder: str, part: Table, columns: list[str] | None) -> pa.Table:
    """One Parquet file of a version, the newest or an earlier one.

    Raises:
        UserError: it is gone or damaged.
    """
    for name in (f"{folder}/{part.name}", f"{VERSIONS}/{folder}/{part.name}"):
        try:
            return rows(home, name, columns)
        except FileNotFoundError:
            continue
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{home.place}/{name} is damaged ({error}). {RESTORE}") from error
    raise UserError(f"{home.place}/{folder}/{part.name} is gone. {RESTORE}")


def rows(home: Store, name: str, columns: list[str] | None) -> pa.Table:
    """The rows of a Parquet file; a local one is not copied into memory first."""
    if isinstance(home, Folder):
        return pq.ParquetFile(home.home / name).read(columns)
    return table_bytes.parquet(home.read(name), columns)


def existing(place: str) -> Store:
    """The store at `place`, which is not made where it is missing."""
    return store(place) if is_bucket(place) else Folder(local_path(place))


def opened(home: Store, name: str) -> dict[str, Any]:
    """A manifest, proven whole."""
    path = f"{home.place}/{name}"
    try:
        manifest: dict[str, Any] = dict(json.loads(home.read(name)))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error}). {RESTORE}") from error
    if manifest.get("format") != FORMAT:
        raise UserError(
            f"{path} is of format {manifest.get('format')}; this version reads format {FORMAT}. "
            f"Name another folder with data.shards, or delete that one and shard again."
        )
    if seal(manifest) != manifest.get("digest"):
        raise UserError(f"{path} is damaged: its digest does not fit. {RESTORE}")
    return manifest


def past_name(version: str) -> str:
    """Name of an earlier version's manifest."""
    return f"{VERSIONS}/{version[:12]}.json"


def seal(manifest: dict[str, Any]) -> str:
    """The digest of a manifest: over everything in it but the digest itself."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
