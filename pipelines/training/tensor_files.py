"""Tensors as a safetensors file, written and summed up piece by piece.

safetensors' own writer takes a path and knows no sums: a bucket's file would be written twice, and every file
read again for its sha256. What is written here is what it would write, byte for byte, and it reads it again.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors.torch import load_file
from torch import Tensor

NAMES = {
    torch.uint64: "U64", torch.int64: "I64", torch.float64: "F64", torch.complex64: "C64",
    torch.float32: "F32", torch.uint32: "U32", torch.int32: "I32", torch.bfloat16: "BF16",
    torch.float16: "F16", torch.uint16: "U16", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8",
    torch.bool: "BOOL",
}  # fmt: skip
"""What the format calls each dtype, in the order in which it lays them down: each begins at a multiple of
its own size."""
ORDER = {dtype: place for place, dtype in enumerate(NAMES)}

PIECE = 2**22


@dataclass(frozen=True)
class Sum:
    """What a file holds, in short."""

    bytes: int
    sha256: str


def write(file: BinaryIO, tensors: Mapping[str, Tensor]) -> Sum:
    """Write tensors that lie on the CPU.

    Raises:
        TypeError: the format has no name for the dtype of one.
    """
    return pour(_pieces(tensors), file.write)


def read(path: Path) -> dict[str, Tensor]:
    """The tensors in `path`, in memory of their own: what becomes of the file is no matter afterwards.

    Raises:
        safetensors.SafetensorError: it is no such file.
    """
    return load_file(path, backend="pread")


def pour(pieces: Iterable[bytes | memoryview], put: Callable[[bytes | memoryview], object]) -> Sum:
    """Hand every piece on; what all of them hold."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        put(piece)
        size += len(piece)
    return Sum(size, digest.hexdigest())


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file."""
    while piece := file.read(PIECE):
        yield piece


def sum_of(file: BinaryIO) -> Sum:
    """What the rest of a file holds."""
    return pour(pieces_of(file), len)


def _pieces(tensors: Mapping[str, Tensor]) -> Iterator[memoryview]:
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise TypeError(f"{name} is {tensor.dtype}, which safetensors has no name for")
    names = sorted(tensors, key=lambda name: (ORDER[tensors[name].dtype], name.encode()))
    yield memoryview(_head({name: tensors[name] for name in names}))
    for name in names:
        content = tensors[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy().data
        for begin in range(0, len(content), PIECE):
            yield content[begin : begin + PIECE]


def _head(tensors: Mapping[str, Tensor]) -> bytes:
    """Where each tensor lies, behind the length of this in 8 bytes."""
    entries, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[name] = {
            "dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end],
        }  # fmt: skip
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
