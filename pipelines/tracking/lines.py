"""Files of JSON lines that are only ever appended to, and are whole after a kill at any moment."""

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line; it is on the disk when this returns.

    Raises:
        OSError: there is no room for it, and nobody will read it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        size = os.fstat(handle).st_size
        # A process that was killed while it wrote leaves half a line: it becomes a line that nobody reads.
        torn = size and os.pread(handle, 1, size - 1) != b"\n"
        # In one piece, so that two processes that append at once do not mix.
        whole = b"\n" * bool(torn) + json.dumps(line).encode() + b"\n"
        if os.write(handle, whole) < len(whole):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))  # a disk's last bytes
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path, begin: int = 0) -> tuple[list[Line], int]:
    """The whole lines from byte `begin` on, and where the next will begin."""
    if not path.exists():
        return [], begin
    with path.open("rb") as file:
        file.seek(begin)
        data = file.read()
    whole = data[: data.rfind(b"\n") + 1]
    found = (_parsed(line) for line in whole.splitlines())
    return [line for line in found if line], begin + len(whole)


def _parsed(line: bytes) -> Line:
    try:
        parsed = json.loads(line)
    except ValueError:  # half a line, or the zeros that a power cut leaves
        return {}
    return parsed if isinstance(parsed, dict) else {}
