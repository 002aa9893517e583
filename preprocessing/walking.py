"""The members of a tar from a stream, each header proven before it is believed; the broken are passed by."""

import hashlib
import tarfile
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from preprocessing.tar import BLOCK
from preprocessing.tar import header as written

END = 2 * BLOCK
MOST = 2**22
"""Bytes read at once of what is only hashed."""


@dataclass(frozen=True, slots=True)
class Member:
    """One whole file of the tar."""

    name: str
    offset: int
    """Bytes from the start of the tar to its content."""
    content: bytes


@dataclass(frozen=True, slots=True)
class Broken:
    """A place where something else was to be."""

    offset: int
    """Bytes from the start of the tar."""
    what: str


class Hashed:
    """A stream that knows how far it was read, and the sha256 of all that."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._sha256 = hashlib.sha256()
        self.position = 0

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._sha256.hexdigest()

    def take(self, length: int) -> bytes:
        """The next `length` bytes; fewer at the end."""
        data = self._file.read(length)
        while 0 < len(data) < length and (more := self._file.read(length - len(data))):
            data += more
        self._sha256.update(data)
        self.position += len(data)
        return data

    def skip_to(self, position: int) -> None:
        """Read on up to `position`, or to the end."""
        while self.position < position and self.take(min(MOST, position - self.position)):
            pass

    def drain(self) -> None:
        """Read to the end."""
        while self.take(MOST):
            pass


def members(stream: Hashed, size: int, headers: Sequence[int]) -> Iterator[Member | Broken]:
    """The members of a tar of `size` bytes; behind what is broken it goes on at the next of `headers`.

    `headers` are the places, in order, where headers are known to be. The stream is read to its end.
    """
    while True:
        at = stream.position
        block = stream.take(BLOCK)
        if at == size - END and not any(block):
            if any(stream.take(END - BLOCK)):
                yield Broken(at, "the empty blocks that end a tar are not empty")
            break
        one = _member(stream, at, block, size)
        yield one
        if isinstance(one, Broken):
            ahead = bisect_right(headers, at)
            if ahead == len(headers) or len(block) < BLOCK:
                break
            stream.skip_to(headers[ahead])
    stream.drain()


def _member(stream: Hashed, at: int, block: bytes, size: int) -> Member | Broken:
    header = _header(block)
    if isinstance(header, str):
        return Broken(at, header)
    start = at + BLOCK
    padded = header.size + -header.size % BLOCK
    if start + padded > size - END:
        return Broken(at, f"the header of {header.name} promises {header.size:,} bytes, more than there are")
    content = stream.take(padded)
    if len(content) < padded:
        return Broken(at, f"the tar ends inside {header.name}")
    return Member(header.name, start, content[: header.size])


def _header(block: bytes) -> tarfile.TarInfo | str:
    """What a header block says, or what is wrong with it."""
    if len(block) < BLOCK:
        return "the tar ends here, before the blocks that end one"
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
        ours = block == written(header.name.encode(), header.size)
    except (tarfile.HeaderError, ValueError) as error:
        return f"no header of a tar ({error})"
    if not ours:
        return f"the header of {header.name} is none of ours: not USTAR, or with an owner, a mode or a time"
    return header
