"""STL, in text and binary: triangles, each with corners of its own."""

import re
import struct
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.mesh_text import Surface, check_count, joined, numbers
from preprocessing.refusal import Refused

FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
TEXT_FACET = re.compile(
    rb"facet\s+normal(?:\s+\S+){3}\s+outer\s+loop"
    + 3 * rb"\s+vertex\s+(\S+)\s+(\S+)\s+(\S+)"
    + rb"\s+endloop\s+endfacet",
    re.IGNORECASE,
)
SOLID = re.compile(rb"^\s*solid\b", re.IGNORECASE | re.MULTILINE)
END = re.compile(rb"^\s*endsolid\b", re.IGNORECASE | re.MULTILINE)
FACETS_AT_A_TIME = 10_000


def read_stl(data: bytes, max_faces: int) -> Surface:
    """The surface: binary where the count fits the size, whatever the first word says."""
    count = struct.unpack_from("<I", data, 80)[0] if len(data) >= 84 else -1
    there = (len(data) - 84) // FACET.itemsize
    text = bool(SOLID.match(data[:200]) and (printable(data[:200]) or END.search(data)))
    if 0 <= count <= there and not (text and not count):
        check_count(3, count, max_faces)
        if count < there and not (len(data) - 84) % FACET.itemsize:
            raise Refused("bad_header", f"counts {count} triangles of the {there} that are there")
        corners = np.frombuffer(data, FACET, count, 84)["corners"].astype(np.float64).reshape(-1, 3)
        return corners, np.arange(len(corners)).reshape(-1, 3)
    if text:
        return read_text(data, max_faces)
    if printable(data[:80]) and (len(data) < 84 or printable(data[:400])):
        raise Refused("not_media", f"no STL: {len(data)} bytes of text")
    raise Refused("truncated", f"{count} triangles promised, {max(0, there)} are there")


def read_text(data: bytes, max_faces: int) -> Surface:
    """The surface of one or more solids in text."""
    solids, ends = len(SOLID.findall(data)), len(END.findall(data))
    if ends < solids:
        raise Refused("truncated", f"{solids} solids, {ends} of them ended")
    promised = data.lower().count(b"endfacet")
    check_count(3, promised, max_faces)
    points: list[NDArray[np.float64]] = []
    found = TEXT_FACET.finditer(data)
    while some := [facet.groups() for facet in islice(found, FACETS_AT_A_TIME)]:
        points.append(numbers([[*facet[at : at + 3]] for facet in some for at in (0, 3, 6)]))
    corners = sum(map(len, points))
    if corners != 3 * promised:
        raise Refused("corrupt", f"{promised - corners // 3} of {promised} facets are no three corners")
    return joined(points, [np.arange(corners).reshape(-1, 3)])


def printable(data: bytes) -> bool:
    """Whether it is text."""
    return all(byte in b"\t\r\n" or 32 <= byte < 127 for byte in data)
