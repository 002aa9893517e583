"""The artifact that sharding leaves behind: where it is, what it holds, from which settings.

`manifest.json` is written last; readers see what it names and nothing else.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.storage import local_path
from preprocessing.statistics import Sums

MANIFEST = "manifest.json"
INDEX = "index.parquet"
QUARANTINE = "quarantine.parquet"


@dataclass(frozen=True, kw_only=True)
class Shards:
    """A finished set of shards."""

    place: str
    """Folder of the shards."""
    digest: str
    """sha256 of the whole manifest, and through it of every byte of every shard."""
    plan: str
    """The plan's hash, as it stands in the names of the shards."""
    classes: tuple[str, ...]
    """Class names; a label is its class's place in this order."""
    counts: dict[str, int]
    """Samples per split: train, val and test, all three always there."""
    found: int
    """Files below the raw folder: those of accepted samples and the quarantined."""
    accepted_files: int
    """Files of accepted samples; a sample of several modalities may have several."""
    quarantined: int
    """Files refused, each a row of quarantine.parquet."""
    modalities: tuple[str, ...]
    """What every sample holds."""
    settings: dict[str, Any]
    """The settings that decided what is stored, by their name below `data.`."""
    decoders: dict[str, str]
    """Decoder and library versions by modality."""
    statistics: Sums
    """By modality of whole numbers: `count` of values per channel, exact `sum` and `sum_of_squares` per
    channel, over the training split."""
    names: dict[str, int]
    """Bytes of every shard by its name."""

    @classmethod
    def open(cls, place: str) -> "Shards":
        """Read the manifest.

        Raises:
            UserError: there is none, it is damaged, or it is of another format.
        """
        path = local_path(place) / MANIFEST
        try:
            manifest: dict[str, Any] = dict(json.loads(path.read_bytes()))
        except FileNotFoundError:
            raise UserError(f"{place} holds no finished shards: no {MANIFEST} there. Run `shard`.") from None
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"{path} cannot be read ({error}). Delete it and shard again.") from error
        if seal(manifest) != manifest.get("digest"):
            raise UserError(f"{path} is damaged: its digest does not fit. Delete it and shard again.")
        return cls.of(place, manifest)

    @classmethod
    def of(cls, place: str, manifest: dict[str, Any]) -> "Shards":
        """The artifact that a manifest describes."""
        return cls(
            place=place,
            digest=manifest["digest"],
            plan=manifest["plan"],
            classes=tuple(manifest["classes"]),
            counts=manifest["counts"],
            found=manifest["found"],
            accepted_files=manifest["accepted_files"],
            quarantined=manifest["quarantined"],
            modalities=tuple(manifest["settings"]["modalities"]),
            settings=manifest["settings"],
            decoders=manifest["decoders"],
            statistics=manifest["statistics"],
            names={shard["name"]: shard["bytes"] for shard in manifest["shards"]},
        )

    def missing(self) -> list[str]:
        """Names of files that the manifest promises and that are not there in full."""
        home = local_path(self.place)
        lacking = [name for name, size in self.names.items() if bytes_of(home / name) != size]
        return lacking + [name for name in (INDEX, QUARANTINE) if not (home / name).exists()]


def bytes_of(path: Path) -> int:
    """Size of a file; -1 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def seal(manifest: dict[str, Any]) -> str:
    """The digest of a manifest: over everything in it but the digest itself."""
    rest = {name: value for name, value in manifest.items() if name != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
