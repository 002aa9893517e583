"""One shard, from raw files to its published name, inside one task.

The tar is written beside its final name, flushed to the disk and renamed; the sidecar in `parts/` is
written last and is the only mark that the shard is finished.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import whole_file, write_whole
from preprocessing import source, statistics
from preprocessing.decoders.table import DECODERS, Decoder
from preprocessing.inventory import ending, printable
from preprocessing.plan import Part, Sample, Work, digest
from preprocessing.refusal import Refusal, Refused
from preprocessing.settings import DataSettings, Modality
from preprocessing.statistics import Sums
from preprocessing.tar import TarWriter

PARTS = ".parts"


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A sample that was read whole."""

    key: str
    source: str
    source_sha256: str
    sources: dict[str, str]
    arrays: dict[str, NDArray[Any]]


class HashedFile:
    """A file that knows the sha256 of what was written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> None:
        self.file.write(data)
        self.sha256.update(data)
        self.size += len(data)


def build_shard(work: Work, settings: DataSettings, root: Path, place: Path) -> dict[str, int]:
    """Read, decode, write, publish; returns the number of samples planned, accepted and files refused."""
    rows: list[dict[str, Any]] = []
    refused: list[Refusal] = []
    sums: Sums = {}
    accepted_files = 0
    with whole_file(place / f"{work.name}.tar") as plain:
        file = HashedFile(plain)
        tar = TarWriter(file)  # pyright: ignore[reportArgumentType]
        for sample in work.samples:
            outcome = read_sample(sample, settings, root)
            if isinstance(outcome, Accepted):
                rows.append(add_sample(tar, work, sample, outcome))
                accepted_files += len({part.path for part in sample.parts})
                if work.split == "train":
                    for modality, array in outcome.arrays.items():
                        statistics.add_array(sums, modality, array)
            else:
                refused += outcome
        tar.finish()
    sidecar = {
        "token": work.token(),
        "shard": {"name": f"{work.name}.tar", "sha256": file.sha256.hexdigest(), "bytes": file.size,
                  "samples": len(rows)},
        "accepted_files": accepted_files,
        "rows": rows,
        "refused": [asdict(one) for one in refused],
        "sums": sums,
    }  # fmt: skip
    write_whole(place / PARTS / f"{work.name}.json", json.dumps(sidecar).encode())
    return {"planned": len(work.samples), "refused": len(refused)}


def add_sample(tar: TarWriter, work: Work, sample: Sample, accepted: Accepted) -> dict[str, Any]:
    """Append the sample's members; returns its row of the index."""
    label = printable(sample.label)
    arrays = [asdict(tar.add_array(accepted.key, *item)) for item in accepted.arrays.items()]
    facts = {"label": label, "source": accepted.source, "sources": accepted.sources, "split": work.split}
    tar.add_text(accepted.key, "json", json.dumps(facts, ensure_ascii=False))
    return {
        "key": accepted.key,
        "split": work.split,
        "label": label,
        "shard": f"{work.name}.tar",
        "source": accepted.source,
        "source_sha256": accepted.source_sha256,
        "arrays": arrays,
    }


def read_sample(sample: Sample, settings: DataSettings, root: Path) -> Accepted | list[Refusal]:
    """All modalities of a sample, or one refusal for each of its files."""
    contents: dict[str, bytes] = {}
    arrays: dict[str, NDArray[Any]] = {}
    faults: dict[str, Refusal] = {}
    for part in sample.parts:
        try:
            if part.path not in contents:
                contents[part.path] = read_file(part, root)
            arrays[part.modality] = decode(part, contents[part.path], sample.identity, settings)
        except Refused as fault:
            faults.setdefault(part.path, refusal(part, fault))
    if faults:
        culprits = ", ".join(fault.modality for fault in faults.values())
        rest = Refused("incomplete", f"the sample's {culprits} was refused")
        return [*({part.path: refusal(part, rest) for part in sample.parts} | faults).values()]
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    first = sample.parts[0]
    return Accepted(
        key=sample_key(hashes),
        source=printable(first.path),
        source_sha256=hashes[first.path],
        sources={part.modality: printable(part.path) for part in sample.parts},
        arrays=arrays,
    )


def read_file(part: Part, root: Path) -> bytes:
    """The file's content, as it was when the plan was made.

    Raises:
        Refused: it cannot be read.
        UserError: it changed since.
    """
    path = root / part.path
    try:
        data = source.read(path)
    except FileNotFoundError:
        data = b""
    except Refused as fault:
        if fault.reason != "empty" or part.size == 0:
            raise
        data = b""
    if len(data) != part.size:
        raise UserError(
            f"{printable(str(path))} changed while it was read: {part.size} bytes were found at first, now "
            f"{len(data)}. Shard again when nothing writes to the raw folder; finished shards are kept."
        )
    return data


def decode(
    part: Part,
    data: bytes,
    identity: str,
    settings: DataSettings,
    decoders: Mapping[Modality, Decoder] = DECODERS,
) -> NDArray[Any]:
    """The stored array; whatever a decoder stumbles over is the file's fault, not the job's."""
    seed = int.from_bytes(digest("points", identity)[:8], "big")
    content = source.Source(data=data, suffix=ending(part.path), seed=seed)
    try:
        return decoders[part.modality].decode(content, getattr(settings, part.modality))
    except Refused:
        raise
    except MemoryError as error:
        raise Refused("too_large", "its decoder asked for more memory than there is") from error
    except ImportError:
        raise  # A missing library is not the file's fault.
    except Exception as error:
        raise Refused("corrupt", f"{type(error).__name__}: {error}"[:500]) from error


def refusal(part: Part, fault: Refused) -> Refusal:
    """The file's row of the quarantine."""
    detail = fault.detail.encode("utf-8", "backslashreplace").decode()
    return Refusal(source=printable(part.path), modality=part.modality, reason=fault.reason, detail=detail)


def sample_key(hashes: dict[str, str]) -> str:
    """Hex digits from the paths and contents of a sample's files; no two samples share a path."""
    whole = hashlib.sha256()
    for path, content in hashes.items():
        whole.update(os.fsencode(path) + b"\0" + content.encode() + b"\0")
    return whole.hexdigest()[:24]
