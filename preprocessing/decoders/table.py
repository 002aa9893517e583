"""Which decoder reads which modality, by which endings and libraries; nothing is loaded before use."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from preprocessing.settings import Modality
from preprocessing.source import Source


@dataclass(frozen=True, kw_only=True)
class Decoder:
    """How files of one modality are read."""

    module: str
    """The file of ours that decodes them."""
    revision: int
    """Raised with every change that alters a stored byte, so that shards are built anew."""
    libraries: tuple[str, ...]
    """The distributions whose version may alter a stored byte."""
    suffixes: tuple[str, ...]
    """Endings of the names that may hold it, in lower case."""

    def decode(self, source: Source, settings: Any) -> NDArray[Any]:
        """The array that is stored.

        Raises:
            Refused: the file cannot become one.
        """
        decode: Callable[[Source, Any], NDArray[Any]] = import_module(self.module).decode
        return decode(source, settings)

    def name(self) -> str:
        """Decoder and versions, as the manifest and the plan's hash hold them."""
        libraries = " ".join(f"{library}=={version(library)}" for library in self.libraries)
        return f"{self.module.rpartition('.')[2]}-{self.revision} {libraries}"


CLIPS = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".wmv", ".flv", ".3gp")
SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".w64", ".m4a", ".aac")

DECODERS: Mapping[Modality, Decoder] = MappingProxyType(
    {
        "image": Decoder(
            module="preprocessing.decoders.image",
            revision=2,
            libraries=("pillow",),
            suffixes=(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"),
        ),
        "audio": Decoder(
            module="preprocessing.decoders.audio",
            revision=2,
            libraries=("soundfile", "soxr", "av"),
            # A clip serves as sound where no sound file lies beside it.
            suffixes=SOUNDS + CLIPS,
        ),
        "mesh": Decoder(
            module="preprocessing.decoders.mesh",
            revision=2,
            libraries=(),
            suffixes=(".off", ".obj", ".ply", ".stl", ".glb", ".gltf"),
        ),
        "video": Decoder(
            module="preprocessing.decoders.video", revision=2, libraries=("av",), suffixes=CLIPS
        ),
    }
)
