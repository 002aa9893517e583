"""Stanford PLY in text and binary: the corners of its faces, whatever else is in it."""

import re
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.mesh_text import (
    Surface,
    batches,
    check_count,
    fan,
    joined,
    numbers,
    triangulated,
    whole,
)
from preprocessing.refusal import Refused

TYPES = {"char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2",
         "ushort": "u2", "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4",
         "float": "f4", "float32": "f4", "double": "f8", "float64": "f8"}  # fmt: skip
FORMATS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
CORNERS = ("vertex_indices", "vertex_index")
END = re.compile(rb"\nend_header[ \t]*(\r\n|\n|\r)|\rend_header\r")


@dataclass(frozen=True, kw_only=True)
class Property:
    """One column of an element."""

    name: str
    form: str
    """NumPy's name of its type, or of a list's items."""
    count: str | None = None
    """NumPy's name of the type of a list's length; None where it is no list."""


@dataclass(frozen=True, kw_only=True)
class Element:
    """One table of the file."""

    name: str
    count: int
    properties: tuple[Property, ...]

    def least(self, *, binary: bool) -> int:
        """Bytes of its shortest row."""
        if not binary:
            return 2 * max(1, len(self.properties))
        return max(1, sum(np.dtype(one.count or one.form).itemsize for one in self.properties))


def read_ply(data: bytes, max_faces: int) -> Surface:
    """The surface, once the header's counts can be true."""
    if not re.match(rb"ply\s", data):
        raise Refused("not_media", f"no PLY: begins with {data[:16]!r}")
    end = END.search(data)
    if not end:
        raise Refused("truncated", "it ends inside its header")
    order, elements = header(data[: end.start()].decode("latin-1").splitlines())
    counts = {one.name: one.count for one in elements}
    least = sum(one.count * one.least(binary=bool(order)) for one in elements)
    if least > len(data) - end.end() + 1:
        raise Refused("truncated", f"{counts} promised in {len(data) - end.end()} bytes")
    if not counts.get("face"):
        reason = "unsupported" if "tristrips" in counts else "no_content"
        raise Refused(reason, f"{counts} and no face")
    check_count(counts.get("vertex", 0), counts["face"], max_faces)
    body = data[end.end() :]
    if not order:
        return read_text(body, elements, max_faces)
    return read_binary(body, elements, order, max_faces)


def header(lines: list[str]) -> tuple[str, list[Element]]:
    """The byte order, empty for text, and the elements."""
    order: str | None = None
    elements: list[Element] = []
    for words in (line.split() for line in lines):
        if words[:1] == ["format"]:
            order = FORMATS.get(words[1] if len(words) > 1 else "")
        elif words[:1] == ["element"] and len(words) > 2:
            elements.append(Element(name=words[1], count=whole(words[2].encode()), properties=()))
        elif words[:1] == ["property"] and elements:
            last = elements.pop()
            more = (*last.properties, column(words[1:]))
            elements.append(Element(name=last.name, count=last.count, properties=more))
    if order is None or any(one.count < 0 for one in elements):
        raise Refused("bad_header", "a PLY of no known format, or with a count below 0")
    return order, elements


def column(words: list[str]) -> Property:
    """`float x` or `list uchar int vertex_indices`."""
    try:
        if words[0] == "list":
            return Property(name=words[3], form=TYPES[words[2]], count=TYPES[words[1]])
        return Property(name=words[1], form=TYPES[words[0]])
    except (KeyError, IndexError) as error:
        raise Refused("bad_header", f"a property of the type {' '.join(words[:3])[:40]!r}") from error


def axes(element: Element) -> list[int]:
    """Which columns are x, y and z."""
    names = [one.name for one in element.properties]
    lists = any(one.count for one in element.properties)
    if lists or not {"x", "y", "z"} <= set(names):
        raise Refused("bad_header", f"vertices of {names}")
    return [names.index(axis) for axis in "xyz"]


def corner_list(element: Element) -> int:
    """Which column holds the corners of the faces."""
    for at, one in enumerate(element.properties):
        if one.count and one.name in CORNERS:
            return at
    raise Refused("bad_header", f"faces of {[one.name for one in element.properties]}")


def read_binary(body: bytes, elements: list[Element], order: str, max_faces: int) -> Surface:
    """The surface of tables that follow each other without a gap."""
    points, faces, at = np.empty((0, 3)), np.empty((0, 3), np.int64), 0
    for element in elements:
        plain = not any(one.count for one in element.properties)
        if plain:
            forms = [(f"c{number}", order + one.form) for number, one in enumerate(element.properties)]
            table = taken(body, np.dtype(forms), element.count, at)
            if element.name == "vertex":
                points = np.stack([table[f"c{axis}"].astype(np.float64) for axis in axes(element)], axis=1)
            at += table.nbytes
        else:
            wanted = corner_list(element) if element.name == "face" else None
            found, at = listed(body, element, order, wanted, at)
            faces = found if element.name == "face" else faces
    check_count(len(points), len(faces), max_faces)
    return points, faces


def taken(body: bytes, form: np.dtype[np.void], count: int, at: int) -> NDArray[np.void]:
    """Rows of one length."""
    if at + count * form.itemsize > len(body):
        size = f"{count} rows of {form.itemsize} bytes"
        raise Refused("truncated", f"{size} promised, {len(body) - at} bytes there")
    return np.frombuffer(body, form, count, at)


def listed(
    body: bytes, element: Element, order: str, wanted: int | None, at: int
) -> tuple[NDArray[np.int64], int]:
    """Triangles of rows with lists, and where they end: at once where all lists are as long as the first."""
    if element.count and (same := alike(body, element, order, at)):
        table = np.frombuffer(body, same, element.count, at)
        lengths = [number for number, one in enumerate(element.properties) if one.count]
        if all((table[f"n{number}"] == table[f"n{number}"][0]).all() for number in lengths):
            end = at + table.nbytes
            return (fans(table[f"c{wanted}"]) if wanted is not None else np.empty((0, 3), np.int64)), end
    polygons: list[list[int]] = []
    for _ in range(element.count):
        for number, one in enumerate(element.properties):
            count, at = item(body, order + one.count, at) if one.count else (1, at)
            end = at + count * np.dtype(one.form).itemsize
            if count < 0 or end > len(body):
                raise Refused("truncated", f"a list of {count} promised, {len(body) - at} bytes there")
            if number == wanted:
                polygons.append(np.frombuffer(body, order + one.form, count, at).tolist())
            at = end
    return triangulated(polygons), at


def alike(body: bytes, element: Element, order: str, at: int) -> np.dtype[np.void] | None:
    """What a row is where all are like the first; None where they cannot be."""
    start = at
    forms: list[tuple[str, str] | tuple[str, str, int]] = []
    for number, one in enumerate(element.properties):
        count = 1
        if one.count:
            count, at = item(body, order + one.count, at)
            forms.append((f"n{number}", order + one.count))
        size = np.dtype(one.form).itemsize
        if count < 0 or at + count * size > len(body):
            return None
        name, kind = f"c{number}", order + one.form
        forms.append((name, kind, count) if one.count else (name, kind))
        at += count * size
    form = np.dtype(forms)
    return form if start + form.itemsize * element.count <= len(body) else None


def item(body: bytes, form: str, at: int) -> tuple[int, int]:
    """One whole number, and what comes behind it."""
    size = np.dtype(form).itemsize
    if at + size > len(body):
        raise Refused("truncated", "it ends inside a list")
    codes = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
    return int(struct.unpack_from(form[0] + codes[form[1:]], body, at)[0]), at + size


def fans(corners: NDArray[np.generic]) -> NDArray[np.int64]:
    """Triangles around the first corner of polygons that have equally many."""
    each = corners.astype(np.int64)
    ways = [each[:, [0, at, at + 1]] for at in range(1, each.shape[1] - 1)]
    return np.stack(ways, axis=1).reshape(-1, 3) if ways else np.empty((0, 3), np.int64)


def read_text(body: bytes, elements: list[Element], max_faces: int) -> Surface:
    """The surface of tables with a row a line."""
    points: list[NDArray[np.float64]] = []
    faces: list[NDArray[np.int64]] = []
    waiting = [element for element in elements if element.count]
    missing, made = waiting[0].count, 0
    for lines in batches(body):
        rows = [words for line in lines if (words := line.split())]
        while rows and waiting:
            some, rows = rows[:missing], rows[missing:]
            missing -= len(some)
            if waiting[0].name == "vertex":
                points.append(vertices(some, waiting[0], last=not missing))
            elif waiting[0].name == "face":
                faces.append(fan(polygons(some, waiting[0]), last=not missing))
                made += len(faces[-1])
                check_count(0, made, max_faces)
            if not missing:
                waiting.pop(0)
                missing = waiting[0].count if waiting else 0
    if waiting:
        raise Refused("truncated", f"{missing} rows of {waiting[0].name!r} are missing")
    return joined(points, faces)


def vertices(rows: list[list[bytes]], element: Element, *, last: bool) -> NDArray[np.float64]:
    """x, y and z of the rows, as exact as the file says they are."""
    columns = axes(element)
    try:
        found = numbers([[row[at] for at in columns] for row in rows])
    except IndexError as error:
        raise Refused("truncated" if last else "corrupt", "a vertex lacks a number") from error
    single = all(element.properties[at].form == "f4" for at in columns)
    return found.astype(np.float32).astype(np.float64) if single else found


def polygons(rows: list[list[bytes]], element: Element) -> list[list[bytes]]:
    """The rows from the number of corners on."""
    wanted = corner_list(element)
    if not wanted:
        return rows
    if any(one.count for one in element.properties[:wanted]):
        raise Refused("unsupported", "faces with another list before their corners, in text")
    return [row[wanted:] or [b"0"] for row in rows]
