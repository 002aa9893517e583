"""Vertices [V, 3] and triangles [F, 3] of a mesh file, by the ending of its name.

All formats are read here, not by trimesh, which lets pass an OFF that ends early, an OBJ face with index 0
and NaN, loses instances of a glTF, and is 4 to 61 times as slow for OFF and OBJ. No other file is opened.
"""

import re
from collections.abc import Callable, Mapping

from preprocessing.decoders.gltf import read_glb, read_gltf
from preprocessing.decoders.mesh_text import Surface, check_count
from preprocessing.decoders.obj import read_obj
from preprocessing.decoders.off import read_off
from preprocessing.decoders.ply import read_ply
from preprocessing.decoders.stl import read_stl
from preprocessing.refusal import Refused

# What is no mesh whatever its name says: archives, pictures, sounds, clips, documents, programs, UTF-16.
FOREIGN = re.compile(
    rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|\x89PNG|\xff\xd8\xff|GIF8|RIFF|OggS|fLaC|ID3|....ftyp|II\*\0|MM\0\*|%PDF"
    rb"|\x7fELF|SQLite|\xff\xfe|\xfe\xff|\s*<(!doctype|html|\?xml|svg)",
    re.DOTALL | re.IGNORECASE,
)
# How the other formats begin; an STL may begin with anything.
OPENINGS = {".ply": rb"ply\s", ".glb": rb"glTF", ".off": rb"(ST)?C?N?OFF\s"}

READERS: Mapping[str, Callable[[bytes, int], Surface]] = {
    ".off": read_off,
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
    ".glb": read_glb,
    ".gltf": read_gltf,
}


def read(data: bytes, suffix: str, max_faces: int = 5_000_000) -> Surface:
    """The surface that the file describes.

    Raises:
        Refused: it describes none, or one of more than `max_faces` triangles or vertices.
    """
    others = [re.match(opening, data) for ending, opening in OPENINGS.items() if ending != suffix]
    if any(others) or FOREIGN.match(data):
        raise Refused("not_media", f"no {suffix[1:].upper()}: begins with {data[:16]!r}")
    vertices, faces = READERS[suffix](data, max_faces)
    check_count(len(vertices), len(faces), max_faces)
    if not len(faces):
        raise Refused("no_content", f"{len(vertices)} vertices and no face")
    return vertices, faces
