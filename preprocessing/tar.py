"""A tar whose bytes depend on nothing but its members: USTAR, fixed owner, mode and time.

`tarfile` makes each header; the members are written here, because `tarfile.addfile` keeps a list of them
and NumPy's own header is to be known, for the offset of the data behind it.
"""

import io
import tarfile
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

BLOCK = 512


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where an array's data lie inside the tar."""

    modality: str
    dtype: str
    """NumPy's short name with its byte order, `|u1`."""
    shape: tuple[int, ...]
    offset: int
    """Bytes from the start of the tar to the first of the data."""
    length: int
    """Bytes of the data alone."""
    crc32: int
    """Of the data: tells which sample was damaged, where the shard's sha256 tells that one was."""


class TarWriter:
    """Appends members to an open file."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.offset = 0

    def add_array(self, key: str, modality: str, array: NDArray[Any]) -> Stored:
        """Append `<key>.<modality>.npy`."""
        array = np.ascontiguousarray(array)
        opening = npy_opening(array.dtype.str, array.shape)
        start = self._open(f"{key}.{modality}.npy", len(opening) + array.nbytes)
        data = array.reshape(-1).view(np.uint8).data
        self.file.write(opening)
        self.file.write(data)
        self._close(len(opening) + array.nbytes)
        return Stored(modality=modality, dtype=array.dtype.str, shape=array.shape,
                      offset=start + len(opening), length=array.nbytes, crc32=zlib.crc32(data))  # fmt: skip

    def add_text(self, key: str, ending: str, text: str) -> None:
        """Append `<key>.<ending>`."""
        data = text.encode()
        self._open(f"{key}.{ending}", len(data))
        self.file.write(data)
        self._close(len(data))

    def finish(self) -> None:
        """Write the two empty blocks that end a tar."""
        self.file.write(bytes(2 * BLOCK))

    def _open(self, name: str, size: int) -> int:
        member = tarfile.TarInfo(name)
        member.size = size
        self.file.write(member.tobuf(tarfile.USTAR_FORMAT))
        self.offset += BLOCK
        return self.offset

    def _close(self, size: int) -> None:
        rest = -size % BLOCK
        self.file.write(bytes(rest))
        self.offset += size + rest


@lru_cache(maxsize=1024)
def npy_opening(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The bytes of a .npy file before its data."""
    opening = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(opening, header)
    return opening.getvalue()
