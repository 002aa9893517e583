"""Object File Format, also with `OFF8 6 12` glued together, colours, normals, comments and polygons."""

import re
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.mesh_text import Surface, batches, check_count, fan, joined, numbers, whole
from preprocessing.refusal import Refused

# Prefixes: places in a picture, colours, normals, four or any number of coordinates.
WORD = re.compile(rb"(ST)?C?N?(4?n?)OFF(\s+BINARY)?")


def read_off(data: bytes, max_faces: int) -> Surface:
    """The surface; what comes behind the promised faces is left out."""
    body, (vertices, faces) = opened(data)
    if min(vertices, faces) < 0:
        raise Refused("bad_header", f"counts {vertices} vertices and {faces} faces")
    # The shortest vertex is `0 0 0`, the shortest face `0`.
    if 6 * vertices + 2 * faces > len(data):
        raise Refused("truncated", f"{vertices} vertices and {faces} faces promised in {len(data)} bytes")
    check_count(vertices, faces, max_faces)
    points: list[NDArray[np.float64]] = []
    triangles: list[NDArray[np.int64]] = []
    points_missing, faces_missing, made = vertices, faces, 0
    for lines in body:
        rows = [line.split() for line in lines[: points_missing + faces_missing]]
        head, rows = rows[:points_missing], rows[points_missing:]
        points_missing -= len(head)
        faces_missing -= len(rows)
        try:
            points.append(numbers([row[:3] for row in head]))
            triangles.append(fan(rows, last=not faces_missing))
        except Refused as refusal:
            if refusal.reason == "corrupt" and sum(map(len, body)) < points_missing + faces_missing:
                break
            raise
        made += len(triangles[-1])
        check_count(vertices, made, max_faces)
        if not points_missing and not faces_missing:
            return joined(points, triangles)
    missing = f"{points_missing} and {faces_missing} of them missing"
    raise Refused("truncated", f"{vertices} vertices and {faces} faces promised, {missing}")


def opened(data: bytes) -> tuple[Iterator[list[bytes]], tuple[int, int]]:
    """The lines behind the header, a batch at a time, and how many vertices and faces it counts."""
    body = significant(data)
    lines = next(body, [b""])
    word = WORD.match(lines[0])
    if not word:
        raise Refused("not_media", f"no OFF: begins with {data[:16]!r}")
    if word[2] or word[3]:
        raise Refused("unsupported", f"OFF of the kind {word[0].decode()!r}")
    glued = lines[0][word.end() :].split()
    counts = glued or (lines[1].split() if len(lines) > 1 else [])
    if len(counts) < 2:
        raise Refused("truncated", "it ends before its counts")
    rest = lines[1:] if glued else lines[2:]
    return chained(rest, body), (whole(counts[0]), whole(counts[1]))


def chained(lines: list[bytes], body: Iterator[list[bytes]]) -> Iterator[list[bytes]]:
    """The rest of a batch, and the batches behind it."""
    yield lines
    yield from body


def significant(data: bytes) -> Iterator[list[bytes]]:
    """Lines without comments, those that say anything."""
    commented = b"#" in data
    for lines in batches(data):
        plain = [line.split(b"#", 1)[0] for line in lines] if commented else lines
        if said := [line for raw in plain if (line := raw.strip())]:
            yield said
