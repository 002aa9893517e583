"""Whole copies of a bucket's shards in a folder that all processes of a node share, up to a bound.

Nothing is ever evicted: a set larger than the bound keeps the copies that it has. A copy bears the sha256 of
its content as its name, so that several sets may share the folder; what is being copied bears another one.
"""

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cluster.mistake import UserError
from cluster.storage import Store, local_path
from preprocessing.settings import DataSettings
from preprocessing.shards import Tar

PART = ".part"
BLOCK = 2**20


@dataclass(frozen=True)
class Cache:
    """The folder of the copies."""

    folder: Path
    limit: int
    """Bytes that all copies may take together."""

    @classmethod
    def of(cls, settings: DataSettings) -> "Cache":
        """The one that the settings name."""
        default = Path(tempfile.gettempdir(), "perceiver-shards")
        folder = local_path(settings.cache) if settings.cache else default
        return cls(folder, int(settings.cache_gib * 2**30))

    def path(self, tar: Tar) -> Path:
        """Where the copy of a shard lies, if it is there."""
        return self.folder / f"{tar.sha256}.tar"

    def holds(self, tar: Tar) -> bool:
        """Whether the whole copy is there."""
        try:
            return self.path(tar).stat().st_size == tar.bytes
        except OSError:
            return False

    def copy(self, home: Store, tar: Tar) -> bool:
        """Whether a shard of `home` is copied here: before, now, or meanwhile by another process.

        Raises:
            UserError: the folder cannot be written, or the shard is not what the manifest says.
        """
        with self._alone():
            self._sweep()
            busy = self._aside(tar).exists()
            if self.holds(tar) or not (busy or self._used() + tar.bytes <= self.limit):
                return self.holds(tar)
            file = self._aside(tar).open("rb") if busy else self._reserved(tar)
        with file:
            if busy:
                fcntl.flock(file, fcntl.LOCK_SH)  # until the other process is done, or dead
                return self.holds(tar)
            return self._poured(home, tar, file)

    def _reserved(self, tar: Tar) -> BinaryIO:
        """A file of the shard's size beside the copies, under a lock that ends with its process."""
        file = self._aside(tar).open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(tar.bytes)
        return file

    def _poured(self, home: Store, tar: Tar, file: BinaryIO) -> bool:
        try:
            pour(home, tar, file)
            os.fsync(file.fileno())
            with self._alone():
                self._aside(tar).replace(self.path(tar))
        except BaseException as error:
            self._aside(tar).unlink(missing_ok=True)
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                return False
            raise
        return True

    def _aside(self, tar: Tar) -> Path:
        return self.folder / f".{tar.sha256}{PART}"

    @contextmanager
    def _alone(self) -> Generator[None]:
        """No other process counts, reserves or publishes meanwhile."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / ".lock").open("ab")
        except OSError as error:
            raise UserError(
                f"{self.folder} cannot be written: {error.strerror}. Name another folder with data.cache."
            ) from error
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _used(self) -> int:
        """Bytes of all copies and of what is being copied."""
        total = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # a copy that failed is taken away without the lock
                    total += entry.stat().st_size
        return total

    def _sweep(self) -> None:
        """Remove what processes that died were copying."""
        for aside in self.folder.glob(f".*{PART}"):
            with suppress(OSError), aside.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                aside.unlink()


def pour(home: Store, tar: Tar, file: BinaryIO) -> None:
    """Copy the content of a shard, and prove it.

    Raises:
        UserError: it is not what the manifest says.
    """
    found = hashlib.sha256()
    with home.reading(tar.name) as source:
        while block := source.read(BLOCK):
            found.update(block)
            file.write(block)
    if found.hexdigest() != tar.sha256:
        raise UserError(
            f"{home.place}/{tar.name} is damaged: its sha256 begins with {found.hexdigest()[:12]}, the "
            f"manifest says {tar.sha256[:12]}. Remove it and shard again; whole shards are kept."
        )
