"""Lines, numbers and polygons of meshes in text, a batch at a time: memory stays near that of the result."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from preprocessing.refusal import Refused

Surface = tuple[NDArray[np.float64], NDArray[np.int64]]

# Bytes of text that are turned into numbers at a time, and of the longest line: a polygon of 100,000 corners.
BATCH = 2**20
LONGEST_LINE = 2**20
# Of a line with a vertex: three numbers, a normal, a colour, a place in a picture.
LONGEST_VERTEX = 2000


def batches(data: bytes) -> Iterator[list[bytes]]:
    """The lines of a text, some thousands at a time."""
    data = data if b"\n" in data else data.replace(b"\r", b"\n")
    at = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    while at < len(data):
        end = data.find(b"\n", at + BATCH) + 1 or len(data)
        if end - at > BATCH + LONGEST_LINE:
            raise Refused("too_large", f"a line of more than {LONGEST_LINE} bytes")
        yield data[at:end].splitlines()
        at = end


def numbers(rows: list[list[bytes]]) -> NDArray[np.float64]:
    """Vertices of three numbers each."""
    if not rows:
        return np.empty((0, 3))
    if set(map(len, rows)) != {3}:
        raise Refused("corrupt", "a vertex of fewer than three numbers")
    check_words(rows)
    try:
        return np.array(rows, dtype="S").astype(np.float64)
    except ValueError as error:
        raise Refused("corrupt", f"a vertex is no three numbers: {error}") from error


def check_words(rows: list[list[bytes]]) -> None:
    """Refuse what Python would take for numbers: `1_0`, zeros in between, words of a megabyte."""
    glued = [b"".join(row) for row in rows]
    text = b"".join(glued)
    if b"_" in text or b"\0" in text:
        raise Refused("corrupt", "a number with an underscore or a zero byte")
    if max(map(len, glued)) > LONGEST_VERTEX:
        raise Refused("too_large", f"numbers of more than {LONGEST_VERTEX} digits")


def fan(rows: list[list[bytes]], *, last: bool) -> NDArray[np.int64]:
    """Triangles from rows of `n i1 ... in [colour]`; `last` says that no more rows come."""
    try:
        if rows and all(row[0] == b"3" and len(row) > 3 for row in rows):
            corners = [row[1:4] for row in rows]
            check_words(corners)
            return np.array(corners, dtype="S").astype(np.int64)
        return triangulated([polygon(row, last and row is rows[-1]) for row in rows])
    except ValueError as error:
        raise Refused("corrupt", f"a face is no list of numbers: {error}") from error
    except OverflowError as error:
        raise Refused("bad_index", "a face refers to a vertex beyond 2^63") from error


def polygon(row: list[bytes], last: bool) -> list[int]:
    """The corners of one face."""
    count = int(row[0])
    if count < 0 or len(row) <= count:
        reason = "truncated" if last and count > 0 else "corrupt"
        raise Refused(reason, f"a face of {count} corners, {len(row) - 1} of them there")
    if any(b"_" in word for word in row[: 1 + count]):
        raise ValueError("an underscore")
    return [int(word) for word in row[1 : 1 + count]]


def triangulated(polygons: Iterable[list[int]]) -> NDArray[np.int64]:
    """Triangles around each polygon's first corner; what has fewer than three corners has no area."""
    fans = [(one[0], *edge) for one in polygons if len(one) > 2 for edge in pairwise(one[1:])]
    return np.array(fans, np.int64).reshape(-1, 3)


def check_count(vertices: int, faces: int, max_faces: int) -> None:
    """Refuse a surface that would take too much memory."""
    if max(vertices, faces) > max_faces:
        raise Refused("too_large", f"{vertices} vertices, {faces} faces; data.mesh.max_faces is {max_faces}")


def joined(points: list[NDArray[np.float64]], faces: list[NDArray[np.int64]]) -> Surface:
    """The surface of all batches."""
    return np.concatenate([np.empty((0, 3)), *points]), np.concatenate([np.empty((0, 3), np.int64), *faces])


def whole(word: bytes) -> int:
    """A count of a header."""
    try:
        return int(word)
    except ValueError as error:
        raise Refused("bad_header", f"{word[:20]!r} is no count") from error
