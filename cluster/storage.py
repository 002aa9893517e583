"""Places where artifacts live, and files that appear whole or not at all."""

import os
import tempfile
from pathlib import Path
from urllib.parse import urlparse

from cluster.mistake import UserError


def folder(place: str) -> Path:
    """The local folder that `place` names, made if it is not there yet.

    Raises:
        UserError: `place` is not a local path, or cannot be made or written.
    """
    path = local_path(place)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(
            f"{place} cannot be written: {error.strerror or error}. Name a folder that you may write, "
            f"for example --workspace work."
        ) from error
    return path


def local_path(place: str) -> Path:
    """The path behind `place`, absolute, so that workers on the same file system find it too.

    Raises:
        UserError: `place` is a URI of an object store.
    """
    scheme = urlparse(place).scheme
    if scheme not in ("", "file"):
        raise UserError(
            f"{place}: places on {scheme}:// are not supported yet. Name a folder; "
            f"on a cluster, one that all nodes mount."
        )
    return Path(urlparse(place).path if scheme else place).expanduser().absolute()


def write_whole(path: Path, data: bytes) -> None:
    """Write `data` beside `path`, then rename it: `path` holds all of it or what it held before."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def sync_folder(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
