"""One shard against its rows of the index: every member of the tar is read, and every row looked for."""

import io
import json
import math
import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cluster.storage import Store
from preprocessing import statistics
from preprocessing.samples import apart
from preprocessing.shard_rows import Row
from preprocessing.shards import Shards, Tar
from preprocessing.statistics import Sums
from preprocessing.tar import BLOCK, npy_opening
from preprocessing.walking import Broken, Hashed, Member, members

LISTED = 20
"""Faults told of one file; more are counted."""
FACTS = ("label", "split", "source")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that is not as the manifest says."""

    file: str
    """The shard, or another file of the version."""
    key: str
    """The sample; empty where it is no single one."""
    what: str
    """What was found and what was promised."""
    way_out: str
    """How it is mended."""


@dataclass(kw_only=True)
class Faults:
    """Those of one file."""

    file: str
    way_out: str
    told: list[Fault] = field(default_factory=list[Fault])
    untold: int = 0
    """Those over `LISTED`."""
    keys: set[str] = field(default_factory=set[str])
    """The samples that have one."""

    def add(self, what: str, key: str = "") -> None:
        """One more."""
        self.keys.add(key)
        if len(self.told) == LISTED:
            self.untold += 1
        else:
            self.told.append(Fault(file=self.file, key=key, what=what, way_out=self.way_out))


@dataclass(frozen=True, kw_only=True)
class Examined:
    """What a shard turned out to be."""

    faults: Faults
    rows: int
    """Rows that the index has of it."""
    splits: Mapping[str, int]
    """These by split."""
    sums: Sums
    """Over its training samples."""


def examine(faults: Faults, tar: Tar, rows: Sequence[Row] | None, shards: Shards) -> Examined:
    """Read the shard whole. Without rows (their index cannot be read) only the tar itself is proven."""
    home = shards.store()
    look = _Look(faults, {row["key"]: row for row in rows or ()}, shards)
    size = home.size(tar.name)
    if size < 0:
        faults.add(f"is gone, with {tar.samples:,} samples")
    else:
        try:
            _read(home, tar, look)
        except OSError as error:
            faults.add(f"cannot be read: {error}")
        if rows is not None:
            look.close(tar)
    splits: dict[str, int] = {}
    for row in rows or ():
        splits[row["split"]] = splits.get(row["split"], 0) + 1
    return Examined(faults=faults, rows=len(rows or ()), splits=splits, sums=look.sums)


def _read(home: Store, tar: Tar, look: "_Look") -> None:
    headers = sorted(look.headers)
    with home.reading(tar.name) as file:
        stream = Hashed(file)
        for one in members(stream, tar.bytes, headers):
            if isinstance(one, Member):
                look.member(one)
            else:
                look.broken(one, headers)
    if stream.position != tar.bytes:
        look.faults.add(f"has {stream.position:,} bytes, the manifest says {tar.bytes:,}")
    elif stream.sha256 != tar.sha256:
        look.faults.add(f"has the sha256 {stream.sha256[:12]}, the manifest says {tar.sha256[:12]}")


class _Look:
    """What the walk through one tar has come by."""

    def __init__(self, faults: Faults, rows: Mapping[str, Row], shards: Shards) -> None:
        self.faults = faults
        self.rows = rows
        self.several = shards.several
        self.classes = frozenset(shards.classes)
        self.sums: Sums = {}
        self.headers = dict(_headers(rows))
        """Where the index says that headers are, and of which sample."""
        self.found: dict[str, set[str]] = {}
        """The members of each sample, without its key."""

    def member(self, one: Member) -> None:
        key, _, kind = one.name.partition(".")
        kinds = self.found.setdefault(key, set())
        if kind in kinds:
            self.faults.add(f"{one.name} is there twice", key)
        kinds.add(kind)
        row = self.rows.get(key)
        if row is None:
            return
        what = self._facts(row, one) if kind == "json" else self._array(row, kind.removesuffix(".npy"), one)
        if what:
            self.faults.add(what, key)

    def broken(self, one: Broken, headers: Sequence[int]) -> None:
        at = bisect_right(headers, one.offset)
        key = self.headers[headers[at - 1]] if at else ""
        self.faults.add(f"at byte {one.offset:,}: {one.what}", key)

    def close(self, tar: Tar) -> None:
        """Look for what did not come by. What is broken is not told again as missing."""
        for key, row in self.rows.items():
            lacking = _kinds(row) - self.found.get(key, set())
            if lacking and key not in self.faults.keys:
                missing = f"without {', '.join(sorted(lacking))}" if key in self.found else "not"
                self.faults.add(f"the index names it, the tar holds it {missing}", key)
        strangers = [key for key in self.found if key not in self.rows]
        if len(strangers) != tar.removed:
            self._strangers(strangers, tar.removed)
        elif len(self.found) != tar.samples and not self.faults.told:
            self.faults.add(f"holds {len(self.found):,} samples, the manifest says {tar.samples:,}")

    def _strangers(self, keys: Sequence[str], removed: int) -> None:
        if not removed:
            for key in keys:
                self.faults.add("the tar holds it, the index does not name it", key)
            return
        named = f" ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})" if keys else ""
        self.faults.add(
            f"holds {len(keys):,} samples that the index does not name{named}, the manifest says {removed:,}"
        )

    def _facts(self, row: Row, one: Member) -> str:
        """What is wrong with the sample's JSON, or nothing."""
        try:
            facts: dict[str, Any] = dict(json.loads(one.content))
        except (ValueError, TypeError) as error:
            return f"its .json cannot be read ({error})"
        if not self.classes.issuperset(apart(row["label"], self.several)):
            return f"its label in the index, {row['label']}, is none of the {len(self.classes)} classes"
        for name in FACTS:
            if facts.get(name) != row[name]:
                return f"its .json says {name} {facts.get(name)!r}, the index says {row[name]!r}"
        return ""

    def _array(self, row: Row, modality: str, one: Member) -> str:
        """What is wrong with one array, or nothing; a training sample's is added to the sums."""
        stored = next((each for each in row["arrays"] if each["modality"] == modality), None)
        if stored is None:
            return f"{one.name} is no modality that the index names"
        opening = _opening(stored)
        what = _mismatch(stored, opening, one)
        if not what and row["split"] == "train":
            array = np.frombuffer(one.content, stored["dtype"], offset=len(opening)).reshape(stored["shape"])
            statistics.add_array(self.sums, modality, array)
        return what


def _mismatch(stored: Row, opening: bytes, one: Member) -> str:
    """What of an array is not as the index says."""
    modality, offset, length = stored["modality"], one.offset + len(opening), len(one.content) - len(opening)
    if not opening or not one.content.startswith(opening):
        return f"its {modality} is {_opened(one.content)}, the index says {_described(stored)}"
    if (offset, length) != (stored["offset"], stored["length"]):
        return (f"its {modality} has {length:,} bytes from byte {offset:,} on, "
                f"the index says {stored['length']:,} from {stored['offset']:,} on")  # fmt: skip
    if length != np.dtype(stored["dtype"]).itemsize * math.prod(stored["shape"]):
        return f"its {modality} has {length:,} bytes, too few or too many for {_described(stored)}"
    if stored["crc32"] != zlib.crc32(memoryview(one.content)[len(opening) :]):
        return f"the values of its {modality} were changed"
    return ""


def _opening(stored: Row) -> bytes:
    """How the array's file begins; nothing where the index describes no array."""
    try:
        return npy_opening(np.dtype(stored["dtype"]).str, tuple(stored["shape"]))
    except (TypeError, ValueError):
        return b""


def _headers(rows: Mapping[str, Row]) -> Iterator[tuple[int, str]]:
    """The places of all headers, as the index has them: before each array, and behind a sample's last."""
    for key, row in rows.items():
        for stored in row["arrays"]:
            yield stored["offset"] - len(_opening(stored)) - BLOCK, key
            end = stored["offset"] + stored["length"]
            yield end + -end % BLOCK, key


def _kinds(row: Row) -> set[str]:
    return {f"{stored['modality']}.npy" for stored in row["arrays"]} | {"json"}


def _described(stored: Mapping[str, Any]) -> str:
    return f"{stored['dtype']} {list(stored['shape'])}"


def _opened(content: bytes) -> str:
    """What a .npy says of itself."""
    file = io.BytesIO(content)
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except ValueError:
        return "no NumPy array"
    return f"{dtype.str} {list(shape)}"
