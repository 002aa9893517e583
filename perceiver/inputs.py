"""The table of modalities: what each needs to be known about it, and the module built from that."""

from collections.abc import Callable
from typing import Any

from perceiver.audio import AudioInput, AudioSpec
from perceiver.image import ImageInput, ImageSpec
from perceiver.mesh import MeshInput, MeshSpec
from perceiver.segment import Input
from perceiver.video import VideoInput, VideoSpec

Spec = ImageSpec | AudioSpec | MeshSpec | VideoSpec

INPUTS: dict[str, tuple[type[Spec], Callable[[Any], Input]]] = {
    "image": (ImageSpec, ImageInput),
    "audio": (AudioSpec, AudioInput),
    "mesh": (MeshSpec, MeshInput),
    "video": (VideoSpec, VideoInput),
}


def build_input(modality: str, spec: Spec) -> Input:
    """The module that turns this modality into positions."""
    if modality not in INPUTS:
        raise ValueError(f"no modality {modality!r}: there are {', '.join(INPUTS)}")
    known, module = INPUTS[modality]
    if not isinstance(spec, known):
        raise ValueError(f"{modality} needs {known.__name__}, not {type(spec).__name__}")
    return module(spec)
