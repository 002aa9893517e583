"""The raw files, in a folder or in a bucket: what there is, and the content of one."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cluster.mistake import UserError
from cluster.storage import is_bucket, local_path
from preprocessing import source
from preprocessing.refusal import Refused


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing below the raw folder that is no folder."""

    path: str
    """Path below the raw folder; bytes that are no UTF-8 are surrogates, as `os.fsdecode` gives them."""
    size: int
    """Bytes."""
    stamp: int
    """Changes with the content: the time of change in nanoseconds, or 63 bits of an object's ETag."""
    fault: str = ""
    """Why it is no regular file of this folder; empty where it is one."""


class Changed(Exception):  # noqa: N818  (a fact that the caller words)
    """The file is no longer what it was when it was listed."""


class Raw(Protocol):
    """A place of raw files."""

    def entries(self) -> Iterator[Entry]:
        """Everything in it that is no folder, in any order."""
        ...

    def named(self, path: str) -> Iterator[Entry]:
        """The one thing at this path, if it is there; what else there is costs nothing."""
        ...

    def read(self, entry: Entry, most: int) -> bytes:
        """The content.

        Raises:
            Refused: it cannot be read, or holds more than `most` bytes.
            Changed: it went away, or is another than the one that was listed.
        """
        ...


def raw(place: str) -> Raw:
    """The raw files at `place`, a folder or `s3://bucket/prefix`.

    Raises:
        UserError: there is no such folder.
    """
    if is_bucket(place):
        return RawBucket(place)
    root = local_path(place)
    if not root.is_dir():
        raise UserError(
            f"data.raw is {place}: there is no such folder. Name the folder that holds `[split/]class/file`."
        )
    return RawFolder(root)


@dataclass(frozen=True)
class RawFolder:
    """Files of a folder. Links are followed where they end at a regular file inside of it."""

    root: Path

    def entries(self) -> Iterator[Entry]:
        real_root = os.path.realpath(self.root)
        waiting = [""]
        while waiting:
            prefix = waiting.pop()
            with os.scandir(self.root / prefix) as listing:
                for item in listing:
                    path = prefix + item.name
                    if item.is_dir(follow_symlinks=False):
                        waiting.append(path + "/")
                    elif item.is_symlink():
                        yield linked(path, item, real_root)
                    elif (found := there(item)) is not None:
                        fault = "" if item.is_file() else "no regular file: a pipe, a socket or a device"
                        yield Entry(path, found.st_size, stamp(found), fault)

    def named(self, path: str) -> Iterator[Entry]:
        found = (self.root / path).stat()
        yield Entry(path, found.st_size, stamp(found))

    def read(self, entry: Entry, most: int) -> bytes:
        try:
            data = source.read(self.root / entry.path, most)
        except FileNotFoundError as error:
            raise Changed from error
        except Refused as fault:
            if fault.reason == "empty" and entry.size:
                raise Changed from fault
            raise
        if len(data) != entry.size:
            raise Changed
        return data


@dataclass(frozen=True)
class RawBucket:
    """Objects of a bucket."""

    place: str

    def entries(self) -> Iterator[Entry]:
        from cluster.bucket import Bucket

        for found in Bucket(self.place).list():
            yield Entry(found.name, found.size, found.stamp)

    def named(self, path: str) -> Iterator[Entry]:
        from cluster.bucket import Bucket

        for found in Bucket(self.place).list(path):
            if found.name == path:
                yield Entry(path, found.size, found.stamp)

    def read(self, entry: Entry, most: int) -> bytes:
        from cluster.bucket import Bucket

        if not entry.size:
            raise Refused("empty", "zero bytes")
        if entry.size > most:
            raise Refused("too_large", f"{entry.size} bytes; data.max_bytes is {most}")
        try:
            data, stamp = Bucket(self.place).read_stamped(entry.path)
        except FileNotFoundError as error:
            raise Changed from error
        if stamp != entry.stamp:
            raise Changed
        return data


def there(item: "os.DirEntry[str]") -> os.stat_result | None:
    """What the file system says of it; nothing where it went away since the folder was listed."""
    try:
        return item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None


def linked(path: str, item: "os.DirEntry[str]", real_root: str) -> Entry:
    """A link: its target where that is a regular file inside the raw folder, otherwise what is wrong."""
    target = os.path.realpath(item.path)
    if os.path.commonpath([target, real_root]) != real_root:
        return Entry(path, 0, 0, "a link that leaves the raw folder")
    try:
        found = item.stat()
    except OSError as error:  # To nothing, to itself, or to where this user may not look.
        return Entry(path, 0, 0, f"a link that leads nowhere: {error.strerror}")
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, 0, 0, "a link to a folder, which is never followed")
    if not stat.S_ISREG(found.st_mode):
        return Entry(path, 0, 0, "a link to no regular file")
    return Entry(path, found.st_size, stamp(found))


def stamp(found: os.stat_result) -> int:
    """The time of change, of which file systems know some that 63 bits do not hold."""
    return found.st_mtime_ns % 2**63
