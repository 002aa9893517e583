"""The ending that a file should have which comes without a name, from how it begins.

Pictures and clips are told apart by their content alone; what a sound or a mesh is read with, the name says.
"""

import re
import struct
from collections.abc import Callable, Mapping

from preprocessing.decoders.mesh_files import OPENINGS
from preprocessing.decoders.stl import FACET, SOLID
from preprocessing.decoders.table import DECODERS
from preprocessing.settings import Modality

AAC = re.compile(rb"\xff[\xf1\xf9]")
"""Begins like an MP3, and is none: the layer is 0."""


def ending_of(modality: Modality, data: bytes) -> str:
    """The ending, with its dot; any one of the modality where the content says nothing."""
    guess = GUESSES.get(modality)
    return guess(data) if guess else DECODERS[modality].suffixes[0]


def _sound(data: bytes) -> str:
    # Not above: they load PyAV, which a model of pictures or meshes does not bring.
    from preprocessing.decoders.audio_files import KINDS
    from preprocessing.decoders.container import MAGIC, boxed

    plain = any(opening.match(data) for opening in KINDS.values()) and not AAC.match(data)
    return ".m4a" if not plain and (MAGIC.match(data) or boxed(data)) else ".wav"


def _mesh(data: bytes) -> str:
    for ending, opening in OPENINGS.items():
        if re.match(opening, data):
            return ending
    if re.match(rb"(\xef\xbb\xbf)?\s*\{", data):
        return ".gltf"
    return ".stl" if SOLID.match(data[:200]) or _counted(data) else ".obj"


def _counted(data: bytes) -> bool:
    """Whether it has the size that a binary STL of its count has."""
    return len(data) >= 84 and len(data) == 84 + FACET.itemsize * struct.unpack_from("<I", data, 80)[0]


GUESSES: Mapping[str, Callable[[bytes], str]] = {"audio": _sound, "mesh": _mesh}
