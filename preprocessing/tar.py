"""A tar whose bytes depend on nothing but its members: USTAR, fixed owner, mode and time.

`tarfile` makes one header, of which each member's differs in name, size and checksum alone; the members are
written here, because `tarfile.addfile` keeps a list of them and NumPy's own header is to be known, for the
offset of the data behind it.
"""

import io
import tarfile
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
        self.file.write(opening)
        self.file.write(array.reshape(-1).view(np.uint8).data)
        self._close(len(opening) + array.nbytes)
        return Stored(modality=modality, dtype=array.dtype.str, shape=array.shape,
                      offset=start + len(opening), length=array.nbytes)  # fmt: skip

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
        self.file.write(header(name.encode(), size))
        self.offset += BLOCK
        return self.offset

    def _close(self, size: int) -> None:
        rest = -size % BLOCK
        self.file.write(bytes(rest))
        self.offset += size + rest


# Name 0 to 100, size 124 to 136, checksum 148 to 156, which counts as blanks while it is summed.
BLANK = bytearray(tarfile.TarInfo("").tobuf(tarfile.USTAR_FORMAT))
BLANK[124:136], BLANK[148:156] = bytes(12), b" " * 8
BLANK_SUM = sum(BLANK)
LONGEST_NAME = 100
LARGEST = 8**11 - 1


def header(name: bytes, size: int) -> bytes:
    """The block before a member.

    Raises:
        ValueError: the name is longer than 100 bytes, or the member larger than 8 GiB.
    """
    if len(name) > LONGEST_NAME or size > LARGEST:
        raise ValueError(f"{name!r} of {size} bytes does not fit into a USTAR header")
    block, digits = BLANK.copy(), b"%011o\0" % size
    block[: len(name)] = name
    block[124:136] = digits
    block[148:156] = b"%06o\0 " % (BLANK_SUM + sum(name) + sum(digits))
    return bytes(block)


@lru_cache(maxsize=1024)
def npy_opening(dtype: str, shape: tuple[int, ...]) -> bytes:
    """The bytes of a .npy file before its data."""
    opening = io.BytesIO()
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(opening, header)
    return opening.getvalue()
