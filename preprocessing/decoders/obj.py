"""Wavefront OBJ: vertices and faces of all objects, indices from 1 or, negative, from the end.

Materials and other files that it names are never opened.
"""

import re

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.mesh_text import Surface, batches, check_count, joined, numbers, triangulated
from preprocessing.refusal import Refused

VERTEX = re.compile(rb"^\s*v(\s+[-+\d.eE]+){3}", re.MULTILINE)


def read_obj(data: bytes, max_faces: int) -> Surface:
    """The surface; lines that say nothing of it are left out."""
    points: list[NDArray[np.float64]] = []
    triangles: list[NDArray[np.int64]] = []
    vertices = made = 0
    try:
        check_count(data.count(b"\nv "), data.count(b"\nf "), max_faces)
        check_end(data)
        for lines in batches(data.replace(b"\\\r\n", b" ").replace(b"\\\n", b" ")):
            rows, polygons = parsed(lines, vertices)
            points.append(numbers(rows))
            triangles.append(triangulated(polygons))
            vertices += len(rows)
            made += len(triangles[-1])
            check_count(vertices, made, max_faces)
    except Refused as refusal:
        if refusal.reason == "corrupt" and not VERTEX.search(data):
            raise Refused("not_media", f"no OBJ: {refusal.detail}") from refusal
        raise
    except OverflowError as error:
        raise Refused("bad_index", "a face refers to a vertex beyond 2^63") from error
    if not vertices and not made:
        raise Refused("not_media", "no OBJ: no line of it is a vertex or a face")
    return joined(points, triangles)


def parsed(lines: list[bytes], before: int) -> tuple[list[list[bytes]], list[list[int]]]:
    """The vertices and faces among the lines, of which `before` vertices came earlier."""
    rows: list[list[bytes]] = []
    polygons: list[list[int]] = []
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == b"v":
            rows.append(words[1:4])
        elif len(words) > 3 and words[0] == b"f":
            polygons.append([corner(word, before + len(rows)) for word in words[1:]])
    return rows, polygons


def check_end(data: bytes) -> None:
    """Refuse a text whose last line is the beginning of a vertex or a face."""
    if data.endswith((b"\n", b"\r")):
        return
    words = data[-200:].splitlines()[-1].split()
    if words and words[0] in (b"v", b"f") and len(words) < 4 and VERTEX.search(data):
        raise Refused("truncated", f"it ends inside a line: {b' '.join(words)!r}")


def corner(word: bytes, vertices: int) -> int:
    """The vertex, counted from 0, that `7`, `7/1/3` or `-1` stands for."""
    try:
        index = int(word.split(b"/", 1)[0])
    except ValueError as error:
        raise Refused("corrupt", f"a face has the corner {word[:20]!r}") from error
    if index == 0 or index < -vertices:
        raise Refused("bad_index", f"a face refers to vertex {index}; they count from 1")
    return index - 1 if index > 0 else vertices + index
