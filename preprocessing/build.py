"""One shard, from raw files to its published name, inside one task.

The tar is a draft until it is whole; the sidecar beside the plan's file in `.work/` is written last and is
the only mark that the shard is finished.
"""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import Store, store
from preprocessing import source, statistics
from preprocessing.decoders.table import DECODERS, Decoder
from preprocessing.inventory import ending, printable
from preprocessing.plan import Work
from preprocessing.raw import Changed, Entry, Raw, raw
from preprocessing.refusal import Reason, Refusal, Refused
from preprocessing.samples import Part, Sample, digest
from preprocessing.settings import DataSettings, Modality, limits
from preprocessing.shards import INDEX_COLUMNS
from preprocessing.statistics import Sums
from preprocessing.tables import HashedFile, replace_table
from preprocessing.tar import TarWriter

WORK = ".work"

MENDED: frozenset[Reason] = frozenset({"unreadable"})
"""Why a file is refused that is mended without a trace in its size or time."""
LIMITED: frozenset[Reason] = frozenset({"too_large", "timeout", "crashed"})
"""Why a file is refused that other limits may let through."""

Watch = Callable[[str], None]
"""Told the path of a file before it is decoded, and nothing after."""

NOTHING: Mapping[str, Refused] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """A sample that was read whole."""

    key: str
    source: str
    source_sha256: str
    sources: dict[str, str]
    arrays: dict[str, NDArray[Any]]


@dataclass(frozen=True, kw_only=True)
class Faulty:
    """A sample that was refused."""

    key: str
    """Follows from the content; empty where that could not be read."""
    refused: list[Refusal]
    """One for each of its files."""


class Decoding:
    """How the files of one task become arrays."""

    def __init__(
        self, settings: DataSettings, told: Mapping[str, Refused] = NOTHING, watch: Watch = lambda _: None,
        files: Raw | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.raw: Raw = files or raw(settings.raw)
        self.told = told
        self.watch = watch

    def array(self, part: Part, data: bytes, identity: str) -> NDArray[Any]:
        """The stored array; a file that is known to crash or hang its decoder does not reach it."""
        if part.path in self.told:
            raise self.told[part.path]
        self.watch(part.path)
        try:
            return decode(part, data, identity, self.settings)
        finally:
            self.watch("")

    def content(self, part: Part) -> bytes:
        """The file's content, as it was when the plan was made.

        Raises:
            Refused: it cannot be read.
            UserError: it changed since.
        """
        try:
            return self.read(part)
        except Changed:
            raise UserError(
                f"{printable(f'{self.settings.raw}/{part.path}')} changed while it was read. "
                f"Shard again when nothing writes to the raw files; finished shards are kept."
            ) from None

    def read(self, part: Part) -> bytes:
        """The file's content.

        Raises:
            Refused: it cannot be read.
            Changed: it is another than the one that was listed.
        """
        try:
            return self.raw.read(Entry(part.path, part.size, part.stamp), self.settings.max_bytes)
        except MemoryError as error:
            raise Refused("too_large", f"{part.size} bytes, more than there is memory for") from error


def finished(home: Store, name: str, text: bytes, settings: DataSettings) -> dict[str, Any] | None:
    """The sidecar of a shard that is there, whole, and built from the raw files as the plan's text says.

    A shard is built again where another try may refuse less of it.
    """
    try:
        sidecar = json.loads(home.read(sidecar_name(name)))
        reasons = {row["reason"] for row in sidecar["refused"]}
        final = reasons.isdisjoint(MENDED if sidecar["limits"] == limits(settings) else MENDED | LIMITED)
        whole = home.size(sidecar["shard"]["name"]) == sidecar["shard"]["bytes"]
        return sidecar if final and whole and sidecar["token"] == token(text) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def build_shard(
    work: Work, settings: DataSettings, place: str, *, told: Mapping[str, Refused] = NOTHING,
    watch: Watch = lambda _: None,
) -> dict[str, Any]:  # fmt: skip
    """Read, decode, write, publish; returns the number of samples planned and files refused.

    `told` are files that are refused without decoding them; `watch` is told what is being decoded.
    """
    home, decoding = store(place), Decoding(settings, told, watch)
    rows: list[dict[str, Any]] = []
    keys: list[str] = []
    faulty: list[int] = []
    accepted_files = 0
    refused: list[Refusal] = []
    sums: Sums = {}
    with home.draft() as draft:
        file = HashedFile(draft.file)
        tar = TarWriter(file)  # pyright: ignore[reportArgumentType]
        for sample in work.samples:
            outcome = read_sample(sample, decoding)
            keys.append(outcome.key)
            if isinstance(outcome, Faulty):
                faulty.append(len(keys) - 1)
                refused += outcome.refused
                continue
            rows.append(add_sample(tar, work, sample, outcome))
            accepted_files += len({part.path for part in sample.parts})
            if work.split == "train":
                for modality, array in outcome.arrays.items():
                    statistics.add_array(sums, modality, array)
        tar.finish()
        draft.publish(f"{work.name}.tar")
    sidecar = {
        "token": token(work.text()),
        "limits": limits(settings),
        "shard": {"name": f"{work.name}.tar", "sha256": file.sha256.hexdigest(), "bytes": file.size,
                  "samples": len(rows)},
        "keys": keys,
        "faulty": faulty,
        "accepted_files": accepted_files,
        "refused": [asdict(one) for one in refused],
        "sums": sums,
    }  # fmt: skip
    replace_table(home, rows_name(work.name), pa.Table.from_pylist(rows, schema=INDEX_COLUMNS))
    home.write(sidecar_name(work.name), json.dumps(sidecar).encode())
    return {"planned": len(work.samples), "refused": len(refused)}


def plan_name(shard: str) -> str:
    """Where a shard's part of the plan lies until the version is committed."""
    return f"{WORK}/{shard}.plan.json"


def sidecar_name(shard: str) -> str:
    """Where the mark lies that a shard is finished, with what there is to say of it."""
    return f"{WORK}/{shard}.done.json"


def rows_name(shard: str) -> str:
    """Where a finished shard's rows of the index lie."""
    return f"{WORK}/{shard}.rows.parquet"


def token(text: bytes) -> str:
    """Recognises the raw files that a shard is built from, by size and stamp."""
    return hashlib.sha256(text).hexdigest()


def add_sample(tar: TarWriter, work: Work, sample: Sample, accepted: Accepted) -> dict[str, Any]:
    """Append the sample's members; returns its row of the index."""
    stored = [tar.add_array(accepted.key, *item) for item in accepted.arrays.items()]
    facts: dict[str, Any] = {"label": sample.label, "source": accepted.source, "sources": accepted.sources,
                             "split": work.split}  # fmt: skip
    if sample.extras:
        facts["extras"] = sample.extras
    tar.add_text(accepted.key, "json", json.dumps(facts, ensure_ascii=False))
    return {
        "key": accepted.key,
        "split": work.split,
        "label": sample.label,
        "shard": f"{work.name}.tar",
        "source": accepted.source,
        "source_sha256": accepted.source_sha256,
        "arrays": [vars(one) for one in stored],  # asdict takes a tenth of the time of a small picture.
    }


def read_sample(sample: Sample, decoding: Decoding) -> Accepted | Faulty:
    """All modalities of a sample, or one refusal for each of its files."""
    contents: dict[str, bytes] = {}
    arrays: dict[str, NDArray[Any]] = {}
    faults: dict[str, Refusal] = {}
    for part in sample.parts:
        try:
            if part.path not in contents:
                contents[part.path] = decoding.content(part)
            arrays[part.modality] = decoding.array(part, contents[part.path], sample.identity)
        except Refused as fault:
            faults.setdefault(part.path, refusal(part, fault))
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in contents.items()}
    key = sample_key(hashes) if len(hashes) == len({part.path for part in sample.parts}) else ""
    if faults:
        culprits = ", ".join(fault.modality for fault in faults.values())
        rest = Refused("incomplete", f"the sample's {culprits} was refused")
        refused = {part.path: refusal(part, rest) for part in sample.parts} | faults
        return Faulty(key=key, refused=[*refused.values()])
    first = sample.parts[0]
    return Accepted(
        key=key,
        source=printable(first.path),
        source_sha256=hashes[first.path],
        sources={part.modality: printable(part.path) for part in sample.parts},
        arrays=arrays,
    )


def key_of(sample: Sample, decoding: Decoding) -> str:
    """The sample's key from its files' content, without decoding them; empty where one cannot be read."""
    try:
        return sample_key(
            {part.path: hashlib.sha256(decoding.content(part)).hexdigest() for part in sample.parts}
        )
    except Refused:
        return ""


def decode(
    part: Part,
    data: bytes,
    identity: str,
    settings: DataSettings,
    decoders: Mapping[Modality, Decoder] = DECODERS,
) -> NDArray[Any]:
    """The stored array; whatever a decoder stumbles over is the file's fault, not the job's."""
    seed = int.from_bytes(digest("points", os.fsencode(identity))[:8], "big")
    content = source.Source(data=data, suffix=ending(part.path), seed=seed)
    try:
        return decoders[part.modality].decode(content, getattr(settings, part.modality))
    except Refused:
        raise
    except MemoryError as error:
        raise Refused("too_large", "its decoder asked for more memory than there is") from error
    except ImportError:
        raise  # A missing library is not the file's fault.
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # A decoder that calls exit, or a panic of Rust, is one of these.
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
