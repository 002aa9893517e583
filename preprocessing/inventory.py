"""Everything that lies below the raw folder: each file is either media of a class or refused with a reason.

The rules, in the order they apply:
* a link to a folder is never followed; a link to a file is, when it ends inside the raw folder;
* pipes, devices and dangling links are refused unopened;
* a file or folder whose name starts with a dot is litter: refused, outside the share of `max_refused`;
* a file that lies in no class folder (INDEX.csv, README) is litter too; where the raw folder has one of
  train/, val/ and test/, so is everything beside them;
* a name without a known ending is `unsupported`; one of a modality that was not asked for is `not_asked`,
  again outside the share.
Names are kept byte for byte, in whatever encoding.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from preprocessing.decoders.table import DECODERS
from preprocessing.refusal import Reason, Refusal
from preprocessing.settings import SPLITS, Modality


@dataclass(frozen=True, slots=True)
class File:
    """A regular file in a class folder, of a modality that was asked for."""

    path: str
    """Path below the raw folder; bytes that are no UTF-8 are surrogates, as `os.fsdecode` gives them."""
    split: str
    """Its split folder; empty where the raw folder has none."""
    label: str
    """Its class folder."""
    size: int
    """Bytes."""
    mtime: int
    """Last change, in nanoseconds."""

    @property
    def stem(self) -> str:
        """The path without its extension: what the files of one sample share."""
        return self.path[: len(self.path) - len(self.suffix)]

    @property
    def suffix(self) -> str:
        """The extension, in lower case, with its dot."""
        return ending(self.path)


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """What the raw folder holds."""

    root: Path
    """The raw folder, absolute."""
    splits: tuple[str, ...]
    """The split folders that are there."""
    files: tuple[File, ...]
    """The files that may become samples, ordered by path."""
    refused: tuple[Refusal, ...]
    """All others, ordered by path."""

    @property
    def found(self) -> int:
        """Files of any kind below the raw folder."""
        return len(self.files) + len(self.refused)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing below the raw folder that is no folder."""

    path: str
    size: int
    mtime: int
    fault: str
    """Why it is no regular file of this folder; empty where it is one."""


def take(root: Path, modalities: tuple[Modality, ...]) -> Inventory:
    """Walk the raw folder.

    Raises:
        OSError: a folder cannot be listed.
    """
    splits = tuple(split for split in SPLITS if (root / split).is_dir())
    wanted = {suffix for modality in modalities for suffix in DECODERS[modality].suffixes}
    files: list[File] = []
    refused: list[Refusal] = []
    for entry in sorted(walk(root), key=lambda entry: os.fsencode(entry.path)):
        placed = place(entry, splits, wanted)
        if isinstance(placed, File):
            files.append(placed)
        else:
            refused.append(placed)
    return Inventory(root=root, splits=splits, files=tuple(files), refused=tuple(refused))


def place(entry: Entry, splits: tuple[str, ...], wanted: set[str]) -> File | Refusal:
    """The file with its split and class, or why it has none."""
    parts = entry.path.split("/")
    split, inner = (parts[0], parts[1:]) if splits else ("", parts)
    known = modality_of(entry.path)

    def refused(reason: Reason, detail: str, *, counts: bool = False) -> Refusal:
        source = printable(entry.path)
        return Refusal(source=source, modality=known, reason=reason, detail=detail, counts=counts)

    if any(part.startswith(".") for part in parts):
        return refused(*litter(parts[-1], known))
    if entry.fault:
        return refused("not_regular", entry.fault, counts=True)
    if (splits and split not in splits) or len(inner) < 2:
        return refused(
            "unsupported", f"lies in no class folder{' of ' + ', '.join(splits) if splits else ''}"
        )
    if not known:
        kind = printable(ending(entry.path)) or "nothing"
        return refused("unsupported", f"no decoder for names that end in {kind}", counts=True)
    if ending(entry.path) not in wanted:
        return refused("not_asked", "data.modalities does not name its modality")
    return File(entry.path, split, inner[0], entry.size, entry.mtime)


def litter(name: str, known: str) -> tuple[Reason, str]:
    """Why a hidden file is none of the media."""
    if name.startswith("._") and known:
        return "not_media", "AppleDouble: macOS keeps a file's attributes in it, no media"
    return "unsupported", "hidden: its name, or that of a folder above it, starts with a dot"


def modality_of(path: str) -> str:
    """The modality that the name's ending stands for; empty where none does."""
    suffix = ending(path)
    known = [modality for modality, decoder in DECODERS.items() if suffix in decoder.suffixes]
    return known[-1] if known else ""  # A clip is video first, although its sound can be had too.


def walk(root: Path) -> Iterator[Entry]:
    """Everything below the raw folder that is no folder, in no order."""
    real_root = os.path.realpath(root)
    waiting = [""]
    while waiting:
        prefix = waiting.pop()
        with os.scandir(root / prefix) as listing:
            for item in listing:
                path = prefix + item.name
                if item.is_dir(follow_symlinks=False):
                    waiting.append(path + "/")
                elif item.is_symlink():
                    yield linked(path, item, real_root)
                else:
                    found = item.stat(follow_symlinks=False)
                    fault = "" if item.is_file() else "no regular file: a pipe, a socket or a device"
                    yield Entry(path, found.st_size, found.st_mtime_ns, fault)


def linked(path: str, item: "os.DirEntry[str]", real_root: str) -> Entry:
    """A link: its target where that is a regular file inside the raw folder, otherwise what is wrong."""
    target = os.path.realpath(item.path)
    if os.path.commonpath([target, real_root]) != real_root:
        return Entry(path, 0, 0, "a link that leaves the raw folder")
    if item.is_dir():
        return Entry(path, 0, 0, "a link to a folder, which is never followed")
    if not item.is_file():
        return Entry(path, 0, 0, "a link to nothing, or to no regular file")
    found = item.stat()
    return Entry(path, found.st_size, found.st_mtime_ns, "")


def ending(path: str) -> str:
    """The extension of the path's last part, in lower case, with its dot; empty where there is none."""
    stem, dot, last = path.rpartition("/")[2].rpartition(".")
    return f".{last.lower()}" if stem and dot else ""


def printable(path: str) -> str:
    r"""The path as text that any file can hold: bytes that are no UTF-8 become `\xNN`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
