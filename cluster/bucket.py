"""A store in a bucket: S3 of Amazon, MinIO, Ceph, Swift, or whoever else speaks it."""

import base64
import errno
import hashlib
import io
import os
import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, cast

from cluster.body import Body, StaleError, stamp_of
from cluster.listing import listed
from cluster.mistake import UserError
from cluster.s3 import Gateway, Patience, RefusedError
from cluster.storage import ANY, Object

ONE_PUT = 2**30
PART = 2**26
MOST_PARTS = 10_000
BUFFER = 2**20

TAKEN = {"PreconditionFailed", "NotImplemented"}
GONE = {"NoSuchUpload"}
UNKNOWN = {"NotImplemented"}

PLACE = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9])(?:/+(.*?))?/*", re.DOTALL)


@dataclass(frozen=True)
class BucketDraft:
    """A local file without a name, of which the bucket hears when it is published."""

    bucket: "Bucket"
    file: BinaryIO

    def publish(self, name: str) -> None:
        self.file.flush()
        self.bucket.publish(name, self.file)


@dataclass(frozen=True)
class Bucket:
    """What lies below `s3://bucket/prefix`.

    Server and credentials come from the usual chain: AWS_ENDPOINT_URL, AWS_PROFILE and the like.
    """

    place: str
    patience: Patience = field(default_factory=Patience)
    one_put: int = ONE_PUT
    """Bytes up to which a draft is published in one request; larger ones go in parts."""
    part: int = PART
    """Bytes of a part."""

    def __post_init__(self) -> None:
        bucket, prefix = split(self.place)
        object.__setattr__(self, "place", f"s3://{bucket}/{prefix}".rstrip("/"))

    @property
    def gateway(self) -> Gateway:
        """The server, asked about this bucket."""
        return Gateway(split(self.place)[0], self.patience)

    @property
    def root(self) -> str:
        """What the keys of this place begin with."""
        prefix = split(self.place)[1]
        return f"{prefix}/" if prefix else ""

    def list(self, below: str = "") -> Iterator[Object]:
        root = self.root
        for one in listed(self.gateway, root + below):
            name, size = one["Key"].removeprefix(root), one["Size"]
            # Consoles mark an empty folder with an empty object of its name.
            if name and not (name.endswith("/") and size == 0):
                yield Object(name, size, stamp_of(one["ETag"]))

    def size(self, name: str) -> int:
        try:
            return self.head(name)["ContentLength"]
        except FileNotFoundError:
            return -1

    def head(self, name: str) -> Any:
        """What the server says of the object without its content."""
        return self.gateway.ask("head_object", self.root + name)

    def read(self, name: str) -> bytes:
        return self.read_stamped(name)[0]

    def read_stamped(self, name: str) -> tuple[bytes, int]:
        while True:
            with suppress(StaleError), Body(self.gateway, self.root + name) as body:
                return body.whole(), body.stamp

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        try:
            with Body(self.gateway, self.root + name, offset, max(length, 1)) as body:
                return body.whole()[:length]
        except RefusedError:
            return b""

    @contextmanager
    def reading(self, name: str) -> Generator[BinaryIO]:
        with io.BufferedReader(Body(self.gateway, self.root + name), BUFFER) as file:
            yield file

    @contextmanager
    def draft(self) -> Generator[BucketDraft]:
        try:
            with tempfile.TemporaryFile(buffering=BUFFER) as file:
                yield BucketDraft(self, cast(BinaryIO, file))
        except OSError as error:
            if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise UserError(
                    f"{tempfile.gettempdir()} has no room left ({error.strerror}) for a file on its way to "
                    f"{self.place}. Free some, or name another folder in TMPDIR, and run again; what is "
                    f"finished is kept."
                ) from error
            raise

    def publish(self, name: str, file: BinaryIO) -> None:
        """Give `name` the content of `file`, unless it has it already."""
        size, digest = file.seek(0, os.SEEK_END), sha256_of(file)
        if size > self.one_put:
            if not self.holds(name, size, digest):
                self.put_in_parts(name, file, size, digest)
            return
        try:
            self.put(name, file, size, digest, IfNoneMatch="*")
        except RefusedError:
            # Taken: by this very content, where another attempt was first, or our own whose answer was lost;
            # else by what an unfinished version left. Or the server knows no such condition.
            if not self.holds(name, size, digest):
                self.put(name, file, size, digest)

    def write(self, name: str, data: bytes) -> None:
        self.put(name, io.BytesIO(data), len(data), hashlib.sha256(data))

    def create(self, name: str, data: bytes) -> bool:
        content = io.BytesIO(data), len(data), hashlib.sha256(data)
        try:
            self.put(name, *content, IfNoneMatch="*")
        except RefusedError:
            if self.size(name) < 0:
                self.put(name, *content)  # the server knows no such condition
        # Ours, also where the answer was lost and the second try found the name taken.
        return self.holds(name, *content[1:])

    def remove(self, name: str) -> None:
        with suppress(FileNotFoundError):
            self.gateway.ask("delete_object", self.root + name)

    def remove_place(self) -> None:
        pass  # Prefixes need no making.

    def below(self, name: str) -> "Bucket":
        return replace(self, place=f"{self.place}/{name}")

    def sole_writer(self) -> AbstractContextManager[None]:
        return nullcontext()

    def sweep(self, ours: re.Pattern[str] = ANY) -> None:
        ended: set[str] = set()

        def left_over(one: Any) -> bool:
            return one["UploadId"] not in ended and bool(ours.fullmatch(one["Key"].removeprefix(self.root)))

        # Always the first page, as what was on it goes: Swift's pages do not say where the next begins.
        while left := [*filter(left_over, self.uploads())]:
            for one in left:
                with suppress(RefusedError):
                    self.gateway.ask("abort_multipart_upload", one["Key"], GONE, UploadId=one["UploadId"])
                ended.add(one["UploadId"])

    def uploads(self) -> Sequence[Any]:
        """The first thousand uploads in parts below the prefix that are not complete."""
        try:
            return self.gateway.ask("list_multipart_uploads", "", UNKNOWN, Prefix=self.root).get(
                "Uploads", []
            )
        except RefusedError:
            return []

    def holds(self, name: str, size: int, digest: Any) -> bool:
        """Whether `name` was published with this content."""
        try:
            head = self.head(name)
        except FileNotFoundError:
            return False
        return head["ContentLength"] == size and head["Metadata"].get("sha256") == digest.hexdigest()

    def put(self, name: str, file: BinaryIO, size: int, digest: Any, **condition: str) -> None:
        """Send the content in one request; the server compares its checksum."""
        self.gateway.ask(
            "put_object",
            self.root + name,
            TAKEN if condition else (),
            Body=file,
            ContentLength=size,
            ChecksumSHA256=base64.b64encode(digest.digest()).decode(),
            Metadata={"sha256": digest.hexdigest()},
            **condition,
        )

    def put_in_parts(self, name: str, file: BinaryIO, size: int, digest: Any) -> None:
        """Send the content in several requests, after whose last it has its name."""
        key, ask = self.root + name, self.gateway.ask
        upload = ask("create_multipart_upload", key, Metadata={"sha256": digest.hexdigest()})["UploadId"]
        try:
            parts = [
                {"PartNumber": number, "ETag": self.put_part(key, upload, number, part)}
                for number, part in enumerate(parts_of(file, max(self.part, -(-size // MOST_PARTS))), start=1)
            ]
            ask("complete_multipart_upload", key, GONE, UploadId=upload, MultipartUpload={"Parts": parts})
        except BaseException as error:
            with suppress(Exception):
                # At once or never: what is left, `sweep` finds.
                impatient = Gateway(self.gateway.bucket, Patience(seconds=0))
                impatient.ask("abort_multipart_upload", key, GONE, UploadId=upload)
            # Complete without our hearing of it: the second time there is no such upload any more.
            if not isinstance(error, RefusedError) or not self.holds(name, size, digest):
                raise

    def put_part(self, key: str, upload: str, number: int, part: bytes) -> str:
        """Send one part; its ETag."""
        md5 = base64.b64encode(hashlib.md5(part, usedforsecurity=False).digest()).decode()
        numbered = {"UploadId": upload, "PartNumber": number}
        return self.gateway.ask("upload_part", key, (), Body=part, ContentMD5=md5, **numbered)["ETag"]


def split(place: str) -> tuple[str, str]:
    """Bucket and prefix of a URI.

    Raises:
        UserError: it is none.
    """
    found = PLACE.fullmatch(place)
    if not found:
        raise UserError(f"{place} names no bucket. Write s3://bucket or s3://bucket/prefix.")
    return found[1], found[2] or ""


def sha256_of(file: BinaryIO) -> Any:
    """The digest of a whole file."""
    digest = hashlib.sha256()
    for piece in parts_of(file, BUFFER):
        digest.update(piece)
    return digest


def parts_of(file: BinaryIO, size: int) -> Iterator[bytes]:
    """The content, `size` bytes at a time."""
    file.seek(0)
    while part := file.read(size):
        yield part
