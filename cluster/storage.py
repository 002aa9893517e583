"""Places where artifacts live, folders and buckets alike, and files that appear whole or not at all."""

import os
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import urlparse

from cluster.mistake import UserError

ANOTHER = (
    "Name another folder (--workspace, or --data.shards for the shards, --checkpoints for the checkpoints)."
)


def folder(place: str) -> Path:
    """The local folder that `place` names, made if it is not there yet.

    Raises:
        UserError: `place` is not a local path, or cannot be made or written.
    """
    path = local_path(place)
    try:
        make_folder(path)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise UserError(f"{place} cannot be written: {error.strerror or error}. {ANOTHER}") from error
    return path


def refuse_unwritable(place: str) -> None:
    """Find out, without making anything, whether `place` would be refused.

    Raises:
        UserError: what is there of the path is no folder, or may not be written; or the bucket is not there,
            or does not let itself be listed.
    """
    if is_bucket(place):
        next(store(place).list(), None)
        return
    path = local_path(place)
    there = next(part for part in (path, *path.parents) if part.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "may not be written" if there.is_dir() else "is no folder"
        raise UserError(f"{place} cannot be written: {there} {why}. {ANOTHER}")


def absolute(place: str) -> str:
    """`place` as workers in other folders find it too."""
    return place.rstrip("/") if is_bucket(place) else str(local_path(place))


def parted(place: str) -> tuple[str, str]:
    """Where the file that `place` names lies, and its name there."""
    if is_bucket(place):
        above, _, name = place.rpartition("/")
        return above, name
    path = local_path(place)
    return str(path.parent), path.name


def local_path(place: str) -> Path:
    """The path behind `place`, absolute, so that workers on the same file system find it too.

    Raises:
        UserError: `place` is a URI of an object store.
    """
    scheme = urlparse(place).scheme
    if scheme not in ("", "file"):
        raise UserError(
            f"{place}: this has to be a folder; on a cluster, one that all nodes mount. "
            f"Raw files, shards and checkpoints may lie on s3:// too."
        )
    return Path(urlparse(place).path if scheme else place).expanduser().absolute()


ANY = re.compile(r".*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Object:
    """One file of a store."""

    name: str
    """Its name below the place, parts separated by `/`."""
    size: int
    """Bytes."""
    stamp: int
    """Changes with the content: the time of change in nanoseconds, or 63 bits of an object's ETag."""


class Draft(Protocol):
    """A file that nobody sees yet."""

    @property
    def file(self) -> BinaryIO:
        """Where its content is written, from the beginning to the end."""
        ...

    def publish(self, name: str) -> None:
        """Give it its name, whole and for good; what bore the name before is replaced."""
        ...


class Store(Protocol):
    """Named bytes below one place. Names are relative to it; a name holds all of its bytes or none.

    What a person can mend (no such bucket, no rights, no space left, no answer after all retries) is a
    `UserError` that names the place; a name that is not there is a `FileNotFoundError`.
    """

    @property
    def place(self) -> str:
        """The folder, or the URI `s3://bucket/prefix`, without a slash at its end."""
        ...

    def list(self, below: str = "") -> Iterator[Object]:
        """Everything whose name begins with `below`, in folders too, drafts and all, in any order."""
        ...

    def size(self, name: str) -> int:
        """Bytes; -1 where there is none of that name."""
        ...

    def read(self, name: str) -> bytes:
        """The whole content."""
        ...

    def read_stamped(self, name: str) -> tuple[bytes, int]:
        """The whole content and its stamp, which differs from the listed one if it has changed since."""
        ...

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """`length` bytes from `offset` on, fewer where the content ends before."""
        ...

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        """The content as a stream from its beginning."""
        ...

    def draft(self) -> AbstractContextManager[Draft]:
        """A new file, gone again unless it is published."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Give `name` this content: it holds all of it, or what it held before."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Give `name` this content if nothing bears the name yet; whether it was this call that did.

        A folder lets one writer win, also over NFS; one that is killed meanwhile may leave less than the
        content. A bucket lets one win where its server keeps to If-None-Match (Amazon, Ceph, MinIO); on
        OpenStack Swift several that come at the same moment may win, and the last one's content stays.
        """
        ...

    def remove(self, name: str) -> None:
        """Take the name away, if it is there."""
        ...

    def remove_place(self) -> None:
        """Take away the place itself where that is an empty folder; a bucket has none."""
        ...

    def below(self, name: str) -> "Store":
        """The store in the folder `name` of this one."""
        ...

    def sole_writer(self) -> AbstractContextManager[None]:
        """Keep other writers out for as long as this one is at work; a bucket has no way to.

        Raises:
            UserError: another one is.
        """
        ...

    def sweep(self, ours: re.Pattern[str] = ANY) -> None:
        """Remove the drafts of processes that died, of those in a bucket the ones whose name is `ours`."""
        ...


PLACES = (
    "Name a folder, or a bucket's prefix s3://bucket/prefix on any server that speaks S3 (AWS_ENDPOINT_URL)."
)
FOREIGN = {
    "gs": "Google's does at https://storage.googleapis.com, with HMAC keys: write s3://.",
    "s3a": "Write s3://.",
    "s3n": "Write s3://.",
    **dict.fromkeys(("abfs", "abfss", "az", "azure", "ftp", "hdfs", "hf", "http", "https", "sftp"), ""),
}


def store(place: str) -> Store:
    """The store at `place`: a folder, or a bucket's prefix `s3://bucket/prefix`.

    Raises:
        UserError: a folder that cannot be made or written, or a URI of another kind.
    """
    found = untouched(place)
    if not is_bucket(place):
        folder(place)
    return found


def untouched(place: str) -> Store:
    """The same, but of a folder that is not there yet nothing is made before something is written.

    Raises:
        UserError: a URI of another kind.
    """
    scheme = place.partition(":/")[0]
    if scheme in FOREIGN:
        raise UserError(
            f"{place}: places on {scheme}:// are not supported. {PLACES} {FOREIGN[scheme]}".strip()
        )
    if is_bucket(place):
        from cluster.bucket import Bucket

        return Bucket(place)
    from cluster.folder import Folder

    return Folder(local_path(place))


def is_bucket(place: str) -> bool:
    """Whether `place` lies in an object store."""
    return place.startswith("s3:")


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


def make_folder(path: Path) -> None:
    """Make `path` and the folders above it that are not there, so that they survive a power cut."""
    new = [one for one in (path, *path.parents) if not one.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for one in new:
        # Where a new folder may be made, but what is there not be listed, it is left to the system.
        with suppress(PermissionError):
            sync_folder(one.parent)


def sync_folder(path: Path) -> None:
    """Make a rename inside `path` survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
