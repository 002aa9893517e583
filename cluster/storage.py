"""Places where artifacts live, and files that appear whole or not at all."""

import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlparse

from cluster.mistake import UserError

ANOTHER = "Name another folder (--workspace, or --data.shards for the shards)."


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
        raise UserError(f"{place} cannot be written: {error.strerror or error}. {ANOTHER}") from error
    return path


def refuse_unwritable(place: str) -> None:
    """Find out, without making anything, whether `folder` would be refused.

    Raises:
        UserError: what is there of the path is no folder, or may not be written.
    """
    path = local_path(place)
    there = next(part for part in (path, *path.parents) if part.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written" if there.is_dir() else "is no folder"
        raise UserError(f"{place} cannot be written: {there} {why}. {ANOTHER}")


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


@contextmanager
def whole_file(path: Path) -> Generator[BinaryIO]:
    """A file beside `path` that takes its name when it is whole and on the disk, or never."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with aside.open("wb", buffering=2**20) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes) -> None:
    """Give `path` this content: it holds all of it, or what it held before."""
    with whole_file(path) as file:
        file.write(data)


def sync_folder(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
