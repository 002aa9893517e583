"""The content of one object, read over as many connections as it takes."""

import errno
import hashlib
import io
import time
from typing import Any

from cluster.mistake import UserError
from cluster.s3 import CutError, Gateway, RefusedError

# A cut loses at most the piece that was under way, so that any connection that carries one gets further.
PIECE = 2**16

EXPECTED = {"InvalidRange", "PreconditionFailed"}


class StaleError(OSError):
    """The object was replaced while it was read."""


class Body(io.RawIOBase):
    """The bytes of one version of an object from `offset` on, `length` of them or all that there are.

    A connection that is cut is made again from the byte reached, and only while the object is the same.
    """

    def __init__(self, gateway: Gateway, key: str, offset: int = 0, length: int | None = None) -> None:
        """Open it.

        Raises:
            FileNotFoundError: there is no such object.
            RefusedError: it ends before `offset`.
        """
        self.gateway = gateway
        self.key = key
        self.at = offset
        answer = self.ask({} if length is None else {"Range": f"bytes={offset}-{offset + length - 1}"})
        self.etag: str = answer["ETag"]
        self.length: int = answer["ContentLength"]
        self.end = offset + self.length

    @property
    def stamp(self) -> int:
        """Names the version that is read."""
        return stamp_of(self.etag)

    def ask(self, condition: dict[str, str]) -> Any:
        """The server's answer, whose stream is read from now on."""
        answer = self.gateway.ask("get_object", self.key, EXPECTED, **condition)
        if condition and not answer.get("ContentRange", "").startswith(f"bytes {self.at}-"):
            raise UserError(
                f"{self.gateway.name(self.key)}: the server sends the whole object where a part was asked. "
                f"Name a place on a server that knows ranges."
            )
        self.stream: Any = answer["Body"]
        return answer

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        view = memoryview(buffer).cast("B")
        piece = self.some(len(view))
        view[: len(piece)] = piece
        return len(piece)

    def some(self, size: int) -> bytes:
        """The next bytes, at most `size`; none only at the end."""
        pauses = self.gateway.patience.pauses()
        while left := min(size, PIECE, self.end - self.at):
            try:
                piece = self.gateway.piece(self.stream, left, self.key)
            except CutError as error:
                self.go_on(next(pauses, None), error)
            else:
                self.at += len(piece)
                return piece
        return b""

    def go_on(self, pause: float | None, cut: CutError) -> None:
        """Open it again, after a pause, at the byte reached."""
        self.stream.close()
        name = self.gateway.name(self.key)
        if pause is None:
            raise UserError(
                f"{name} is cut off at byte {self.at} of {self.end} again and again. Look at what lies "
                f"between here and the server (proxies, limits on time or size), and run again."
            ) from cut
        time.sleep(pause)
        try:
            self.ask({"Range": f"bytes={self.at}-{self.end - 1}", "IfMatch": self.etag})
        except RefusedError as error:
            raise StaleError(errno.ESTALE, "The object was replaced while it was read", name) from error

    def whole(self) -> bytes:
        """All of it at once."""
        return b"".join(iter(lambda: self.some(PIECE), b""))

    def close(self) -> None:
        self.stream.close()
        super().close()


def stamp_of(etag: str) -> int:
    """63 bits that change with the ETag."""
    return int.from_bytes(hashlib.sha256(etag.strip('"').encode()).digest()[:8]) >> 1
