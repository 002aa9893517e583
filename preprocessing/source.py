"""The bytes of one raw file, read once and never through a pipe."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from preprocessing.refusal import Refused
from preprocessing.settings import DataSettings


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a decoder gets."""

    data: bytes
    """The file's content."""
    suffix: str
    """The ending of its name, in lower case, with its dot."""
    seed: int = 0
    """Decides what a decoder draws at random; a pure function of the sample's identity."""


def read(path: Path, max_bytes: int = DataSettings.max_bytes) -> bytes:
    """The file's content.

    Raises:
        Refused: it is no regular file, empty, too large, or the file system refuses it.
        FileNotFoundError: it went away.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that replaced the file waits for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise Refused("not_regular", "no regular file: a pipe, a socket or a device")
            if status.st_size > max_bytes:
                raise Refused("too_large", f"{status.st_size} bytes; data.max_bytes is {max_bytes}")
            data = file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Refused("unreadable", error.strerror or str(error)) from error
    if not data:
        raise Refused("empty", "zero bytes")
    return data
