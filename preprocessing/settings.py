"""What the raw files become: which modalities, how large, at which rate, and who goes into which split.

A field marked `SEEN` is read by the model only: it changes no stored byte, so it neither enters the plan's
hash nor is compared with the settings of existing shards.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal

Modality = Literal["image", "audio", "mesh", "video"]
Split = Literal["train", "val", "test"]
Fit = Literal["crop", "stretch", "pad"]

LEAST_MEMORY = 0.25
SPLITS: tuple[Split, ...] = ("train", "val", "test")
SEEN: Mapping[str, Any] = MappingProxyType({"seen_by_the_model_only": True})


@dataclass(frozen=True, kw_only=True)
class ImageSettings:
    size: int = 224
    """Side of the stored square, in pixels; the array is uint8 [size, size, 3]."""
    fit: Fit = "crop"
    """How a picture becomes square: `crop` its middle, `stretch` it, or `pad` it with black."""
    max_pixels: int = 64_000_000
    """Pictures with more pixels than this are refused from their header, before memory is taken."""

    def __post_init__(self) -> None:
        positive(self, "size", "max_pixels")


@dataclass(frozen=True, kw_only=True)
class AudioSettings:
    rate: int = 16_000
    """Sampling rate of the stored sound, in hertz."""
    channels: int = 1
    """Stored channels; another number in the file is averaged to one and repeated."""
    max_seconds: float = 30.0
    """Longest sound stored, in seconds; what comes later in the file is left out."""
    max_samples: int = 100_000_000
    """Sounds with more samples of all channels than this within `max_seconds` are refused unread."""
    seconds: float = field(default=10.0, metadata=SEEN)
    """Window of the sound that the model sees, in seconds."""
    form: Literal["raw", "mel"] = field(default="mel", metadata=SEEN)
    """What the model reads: the `raw` waveform or its `mel` spectrogram."""
    mels: int = field(default=128, metadata=SEEN)
    """Mel bins of the spectrogram."""
    window: float = field(default=0.025, metadata=SEEN)
    """Length of one analysis window of the spectrogram, in seconds."""
    hop: float = field(default=0.010, metadata=SEEN)
    """Step from one analysis window to the next, in seconds."""

    def __post_init__(self) -> None:
        positive(self, "rate", "channels", "max_seconds", "max_samples", "seconds", "mels", "window", "hop")


@dataclass(frozen=True, kw_only=True)
class MeshSettings:
    stored: int = 4096
    """Points sampled from each surface and stored, in random order: any prefix is a uniform sample."""
    points: int = field(default=2048, metadata=SEEN)
    """Points that the model sees, at most `stored`."""
    normals: bool = False
    """Store each point's surface normal beside its position: [P, 6] instead of [P, 3]."""
    max_faces: int = 5_000_000
    """Meshes with more triangles or more vertices than this are refused, before memory is taken."""

    def __post_init__(self) -> None:
        positive(self, "stored", "points", "max_faces")
        if self.points > self.stored:
            raise ValueError(f"points ({self.points}) is more than the {self.stored} points stored per mesh")


@dataclass(frozen=True, kw_only=True)
class VideoSettings:
    size: int = 112
    """Side of the stored square frame, in pixels."""
    fit: Fit = "crop"
    """How a frame becomes square: `crop` its middle, `stretch` it, or `pad` it with black."""
    rate: float = 8.0
    """Stored frames per second."""
    max_seconds: float = 10.0
    """Longest clip stored, in seconds; what comes later in the file is left out."""
    max_pixels: int = 36_000_000
    """Clips whose frames have more pixels than this are refused."""
    frames: int = field(default=16, metadata=SEEN)
    """Window of the clip that the model sees, in frames."""

    def __post_init__(self) -> None:
        positive(self, "size", "rate", "max_seconds", "max_pixels", "frames")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    raw: str
    """Raw files, a folder or `s3://bucket/prefix`: `[split/]class/file`; split folders are train, val and
    test."""
    labels: str | None = None
    """CSV or Parquet table that gives the labels instead of class folders: columns path and label (or labels,
    separated by `;`), split where it decides that, and any extras; a file or `s3://bucket/name`."""
    modalities: tuple[Modality, ...] = ("image",)
    """What a sample holds; several are joined by the file's path without its extension."""
    shards: str | None = None
    """Place of the shards, a folder or `s3://bucket/prefix`; unset, `shards` in the workspace."""
    shard_size: int = 1000
    """Samples planned per shard: exactly this many, fewer only in the last of a split."""
    val: float = 0.1
    """Share drawn for validation (0 to 1) where the raw folder has no `val/`."""
    test: float = 0.1
    """Share drawn for the test (0 to 1) where the raw folder has no `test/`."""
    max_refused: float = 0.05
    """Share of refused files (0 to 1) above which sharding stops; 1.0 never stops."""
    verify_content: bool = False
    """Tell whether known files changed by their content, not by size and time (or ETag); reads them all."""
    max_bytes: int = 2 * 2**30
    """Raw files larger than this are refused unread, in bytes."""
    decoder_seconds: float = 60.0
    """CPU seconds that one file may take to decode; then it is refused."""
    decoder_memory: float = 4.0
    """GiB that decoding may take in one process; a file that needs more is refused."""
    cache: str | None = None
    """Folder on each node for copies of shards from a bucket; unset, `perceiver-shards` in the system's
    folder for temporary files."""
    cache_gib: float = 50.0
    """GiB that these copies may take; what is over is read by ranges."""
    image: ImageSettings = field(default_factory=ImageSettings)
    """How images are stored."""
    audio: AudioSettings = field(default_factory=AudioSettings)
    """How sounds are stored."""
    mesh: MeshSettings = field(default_factory=MeshSettings)
    """How meshes are stored."""
    video: VideoSettings = field(default_factory=VideoSettings)
    """How clips are stored."""

    def __post_init__(self) -> None:
        positive(self, "shard_size", "max_bytes", "decoder_seconds", "cache_gib")
        if self.decoder_memory < LEAST_MEMORY:
            raise ValueError(
                f"decoder_memory ({self.decoder_memory}) is less than the {LEAST_MEMORY} GiB that a process "
                f"takes before it has decoded anything"
            )
        if not self.modalities or len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities must name each modality once, and at least one: {self.modalities}")
        if not 0 <= self.max_refused <= 1:
            raise ValueError(f"max_refused ({self.max_refused}) is a share: it lies between 0 and 1")
        if not (self.val >= 0 and self.test >= 0 and self.val + self.test < 1):
            raise ValueError(
                f"val ({self.val}) and test ({self.test}) are shares and must leave some to train"
            )


def positive(settings: object, *names: str) -> None:
    """Refuse a setting that is zero or less."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} ({getattr(settings, name)}) must be greater than 0")


def limits(settings: DataSettings) -> dict[str, float]:
    """What a raw file may take."""
    return {name: getattr(settings, name) for name in ("max_bytes", "decoder_seconds", "decoder_memory")}


def stored(settings: DataSettings) -> dict[str, Any]:
    """The settings that decide what is stored, by their name below `data.`."""
    kept: dict[str, Any] = {
        "modalities": list(settings.modalities), "labels": "a table" if settings.labels else "folders",
    }  # fmt: skip
    for name in ("shard_size", "val", "test"):
        kept[name] = getattr(settings, name)
    for modality in settings.modalities:
        part = getattr(settings, modality)
        for one in fields(part):
            if one.metadata != SEEN:
                kept[f"{modality}.{one.name}"] = getattr(part, one.name)
    return kept
