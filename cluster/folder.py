"""A store in a folder that all who use it mount."""

import errno
import fcntl
import os
import re
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from cluster.mistake import UserError
from cluster.storage import ANOTHER, ANY, Object, make_folder, sync_folder

DRAFT = ".part"


OUR_DRAFT = re.compile(r"\.[0-9a-f]{32}\.part")


@dataclass(frozen=True)
class FolderDraft:
    """A file beside its later name."""

    home: Path
    aside: Path
    file: BinaryIO

    def publish(self, name: str) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        path = self.home / name
        make_folder(path.parent)
        self.aside.replace(path)
        sync_folder(path.parent)


@dataclass(frozen=True)
class Folder:
    """A store in a folder that all who use it mount."""

    home: Path

    @property
    def place(self) -> str:
        return str(self.home)

    def list(self, below: str = "") -> Iterator[Object]:
        for top, _, names in os.walk(self.home):
            for name in names:
                path = Path(top, name)
                relative = path.relative_to(self.home).as_posix()
                if relative.startswith(below):
                    # It may be gone by now: others publish and sweep while we look.
                    with suppress(FileNotFoundError):
                        found = path.stat()
                        yield Object(relative, found.st_size, found.st_mtime_ns)

    def size(self, name: str) -> int:
        try:
            found = (self.home / name).stat()
        except (FileNotFoundError, NotADirectoryError):
            return -1
        return found.st_size if stat.S_ISREG(found.st_mode) else -1

    def read(self, name: str) -> bytes:
        with self.reading(name) as file:
            return file.read()

    def read_stamped(self, name: str) -> tuple[bytes, int]:
        with self.reading(name) as file:
            # In this order, a change while it is read shows in the stamp too.
            return file.read(), os.fstat(file.fileno()).st_mtime_ns

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        with self.reading(name) as file:
            return os.pread(file.fileno(), length, offset)

    def reading(self, name: str) -> BinaryIO:
        try:
            return (self.home / name).open("rb")
        except (NotADirectoryError, IsADirectoryError) as error:
            raise FileNotFoundError(f"{self.home / name} is no file") from error

    @contextmanager
    def draft(self) -> Generator[FolderDraft]:
        aside = self.home / f".{uuid4().hex}{DRAFT}"
        try:
            with self._refusing():
                make_folder(self.home)
                with aside.open("xb", buffering=2**20) as file:
                    yield FolderDraft(self.home, aside, file)
        finally:
            aside.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        with self.draft() as draft:
            draft.file.write(data)
            draft.publish(name)

    def create(self, name: str, data: bytes) -> bool:
        path = self.home / name
        with self._refusing():
            make_folder(path.parent)
            try:
                file = path.open("xb")
            except FileExistsError:
                return False
            with file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            sync_folder(path.parent)
        return True

    @contextmanager
    def _refusing(self) -> Generator[None]:
        """Say what the file system refuses; an error that names a file elsewhere is the caller's own."""
        try:
            yield
        except OSError as error:
            if error.filename is None or str(error.filename).startswith(self.place):
                raise refused(error, self.place) from error
            raise

    def remove(self, name: str) -> None:
        with suppress(NotADirectoryError, IsADirectoryError):
            (self.home / name).unlink(missing_ok=True)

    def remove_place(self) -> None:
        # Others may be at work in it, or have been as quick.
        with suppress(OSError):
            self.home.rmdir()

    def below(self, name: str) -> "Folder":
        return Folder(self.home / name)

    @contextmanager
    def sole_writer(self) -> Generator[None]:
        handle = os.open(self.home, os.O_RDONLY)
        try:
            # The kernel lets go of it when the process dies.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise UserError(
                f"Another run is writing to {self.place}. Wait until it has ended, or name another place."
            ) from error
        except OSError:
            pass  # Some network file systems have no such lock.
        try:
            yield
        finally:
            os.close(handle)

    def sweep(self, ours: re.Pattern[str] = ANY) -> None:  # noqa: ARG002  (a draft here bears a name of ours)
        with suppress(FileNotFoundError):
            for path in self.home.iterdir():
                if OUR_DRAFT.fullmatch(path.name):
                    path.unlink(missing_ok=True)


def refused(error: OSError, place: str) -> OSError | UserError:
    """What the file system says, as the user's mistake where it is one."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return UserError(
            f"{place} has no room left ({error.strerror}). Free some and run again; what is finished is kept."
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return UserError(f"{place} cannot be written: {error.strerror}. {ANOTHER}")
    return error
