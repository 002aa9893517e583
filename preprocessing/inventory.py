"""Everything that lies below the raw folder: each file is either media of a class or refused with a reason.

The rules, in the order they apply:
* a link to a folder is never followed; a link to a file is, when it ends inside the raw folder;
* pipes, devices and dangling links are refused unopened;
* a file or folder whose name starts with a dot is litter: refused, outside the share of `max_refused`;
* a file that lies in no class folder (INDEX.csv, README) is litter too, unless a table gives the labels;
  where the raw folder has one of train/, val/ and test/, so is everything beside them, but media that was
  asked for counts there: whole classes would be left out without a word;
* a name without a known ending is `unsupported`; one of a modality that was not asked for is `not_asked`,
  again outside the share.
Names are kept byte for byte, in whatever encoding.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa

from preprocessing.columns import Columns, rows
from preprocessing.decoders.table import DECODERS
from preprocessing.raw import Entry
from preprocessing.refusal import Reason
from preprocessing.settings import SPLITS, Modality

ENTRIES = pa.schema(
    [("path", pa.large_binary()), ("size", pa.int64()), ("stamp", pa.int64()), ("fault", pa.string())]
)
FILES = pa.schema(
    [("stem", pa.large_binary()), ("ending", pa.binary()), ("size", pa.int64()), ("stamp", pa.int64())]
)
REFUSED = pa.schema(
    [(name, pa.string()) for name in ("source", "modality", "reason", "detail")] + [("counts", pa.bool_())]
)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What the raw folder holds, as columns."""

    splits: tuple[str, ...]
    """The split folders that are there."""
    files: pa.Table
    """The files that may become samples: `stem` (the path without its extension, what the files of one sample
    share), `ending` (the extension with its dot, as it is spelt), `size` in bytes and `stamp`; ordered by the
    first two."""
    refused: pa.Table
    """All others: the quarantine's columns, and whether each counts towards `max_refused`."""

    @property
    def found(self) -> int:
        """Files of any kind below the raw folder."""
        return self.files.num_rows + self.refused.num_rows


def take(entries: Iterable[Entry], modalities: tuple[Modality, ...], *, tabled: bool = False) -> Inventory:
    """Sort out what is there; `tabled` where a table gives the labels, so that class folders are not needed.

    Raises:
        OSError: a folder cannot be listed.
    """
    seen = listed(entries)
    splits = split_folders(seen)
    wanted = frozenset(suffix for modality in modalities for suffix in DECODERS[modality].suffixes)
    files, refused = Columns(FILES), Columns(REFUSED)
    for name, size, stamp, fault in rows(seen):
        path = os.fsdecode(name)
        suffix = ending(path)
        if (
            why := objection(path, fault, splits, tabled, suffix in wanted) or unwanted(suffix, wanted)
        ) is None:
            cut = len(name) - len(os.fsencode(suffix))
            files.add(name[:cut], name[cut:], size, stamp)
        else:
            refused.add(printable(path), modality_of(path), *why)
    del seen
    return Inventory(
        splits=splits,
        files=files.table().sort_by([("stem", "ascending"), ("ending", "ascending")]),
        refused=refused.table().sort_by("source"),
    )


def listed(entries: Iterable[Entry]) -> pa.Table:
    """All entries, before it is known which split folders there are."""
    seen = Columns(ENTRIES)
    for entry in entries:
        seen.add(os.fsencode(entry.path), entry.size, entry.stamp, entry.fault)
    return seen.table()


def split_folders(seen: pa.Table) -> tuple[str, ...]:
    """Which of train/, val/ and test/ hold anything."""
    tops: set[bytes] = set()
    for (path,) in rows(seen.select(["path"])):
        top, inside, _ = path.partition(b"/")
        if inside:
            tops.add(top)
    return tuple(split for split in SPLITS if split.encode() in tops)


Objection = tuple[Reason, str, bool]
"""Reason, detail, and whether it counts."""


def objection(path: str, fault: str, splits: tuple[str, ...], tabled: bool, asked: bool) -> Objection | None:
    """Why the file can be no sample, whatever it holds."""
    if path.startswith(".") or "/." in path:
        return litter(path)
    if fault:
        return "not_regular", fault, True
    split, _, inner = path.partition("/") if splits else ("", "", path)
    if tabled:
        return None
    if splits and split not in splits and inner:
        return "unsupported", f"lies beside the split folders {', '.join(splits)}", asked
    if "/" not in inner:
        return "unsupported", f"lies in no class folder{' of ' + ', '.join(splits) if splits else ''}", False
    return None


@lru_cache(maxsize=4096)
def unwanted(suffix: str, wanted: frozenset[str]) -> Objection | None:
    """Why no file with this ending becomes a sample."""
    if suffix not in MODALITIES:
        return "unsupported", f"no decoder for names that end in {printable(suffix) or 'nothing'}", True
    if suffix not in wanted:
        return "not_asked", "data.modalities does not name its modality", False
    return None


def litter(path: str) -> Objection:
    """Why a hidden file is none of the media."""
    if path.rpartition("/")[2].startswith("._") and modality_of(path):
        return "not_media", "AppleDouble: macOS keeps a file's attributes in it, no media", False
    return "unsupported", "hidden: its name, or that of a folder above it, starts with a dot", False


# A clip is video first, although its sound can be had too: the last modality of the table counts.
MODALITIES = {suffix: modality for modality, decoder in DECODERS.items() for suffix in decoder.suffixes}


def modality_of(path: str) -> str:
    """The modality that the name's ending stands for; empty where none does."""
    return MODALITIES.get(ending(path), "")


def ending(path: str) -> str:
    """The extension of the path's last part, in lower case, with its dot; empty where there is none."""
    stem, dot, last = path.rpartition("/")[2].rpartition(".")
    return f".{last.lower()}" if stem and dot else ""


def printable(path: str) -> str:
    r"""The path as text that any file can hold: bytes that are no UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
