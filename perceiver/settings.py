"""What a user chooses about the network and its training; importing it does not import torch.

Sources: "paper" is Jaegle et al. 2021, arXiv 2103.03206v2; "chosen" means that the paper does not say.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

Sharing = Literal["paper", "none", "all"]
Precision = Literal["float32", "bfloat16"]
Form = Literal["auto", "textbook", "absorbed", "streamed", "separable"]
FeedForward = Literal["gelu", "geglu"]


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise ValueError(complaint)


def _share(name: str, value: float) -> None:
    _require(0 <= value <= 1, f"{name} ({value}) is a share: choose a number from 0 to 1")


def _whole(name: str, value: int, least: int = 1) -> None:
    _require(value >= least, f"{name} ({value}) is too small: the least is {least}")


@dataclass(frozen=True, kw_only=True)
class ImageTokens:
    patch: int = 1
    """Side in pixels of the square that becomes one position (paper: 1, every pixel)."""
    bands: int | None = None
    """Fourier bands per axis; none: model.bands."""
    max_frequency: float | None = None
    """Twice the highest frequency, in periods over half an axis; none: model.max-frequency."""

    def __post_init__(self) -> None:
        _whole("model.image.patch", self.patch)


@dataclass(frozen=True, kw_only=True)
class AudioTokens:
    patch: int = 128
    """Samples of the raw waveform that become one position (paper: 128)."""
    frames: int = 1
    """Frames of the mel spectrogram that become one position (paper: 1)."""
    bins: int = 1
    """Mel bins that become one position (paper: 1)."""
    bands: int | None = None
    """Fourier bands per axis; none: model.bands (DeepMind's Perceiver IO: 192 for the waveform)."""
    max_frequency: float | None = None
    """Twice the highest frequency, in periods over half an axis; none: model.max-frequency."""

    def __post_init__(self) -> None:
        for name in ("patch", "frames", "bins"):
            _whole(f"model.audio.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class MeshTokens:
    bands: int | None = None
    """Fourier bands per axis; none: model.bands (paper: 64)."""
    max_frequency: float = 20.0
    """Twice the highest frequency, in periods over the unit length (paper: 1120; chosen: 20, as thousands
    of points sampled anew at every visit cannot resolve more)."""

    def __post_init__(self) -> None:
        _require(
            self.max_frequency >= 2,
            f"model.mesh.max-frequency ({self.max_frequency}) must be at least 2: points have no resolution "
            "to derive it from",
        )


@dataclass(frozen=True, kw_only=True)
class VideoTokens:
    frames: int = 2
    """Frames of the block that becomes one position (paper: 2)."""
    patch: int = 8
    """Side in pixels of that block (paper: 8)."""
    bands: int | None = None
    """Fourier bands per axis; none: model.bands (DeepMind's Perceiver IO: 32)."""
    max_frequency: float | None = None
    """Twice the highest frequency, in periods over half an axis; none: model.max-frequency."""

    def __post_init__(self) -> None:
        for name in ("patch", "frames"):
            _whole(f"model.video.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    preset: Literal["none", "imagenet", "imagenet-flash", "audioset", "modelnet40", "modelnet40-flash"] = (
        "none"
    )
    """Figures of the paper that the run file and the options stand upon: see PRESETS."""
    latents: int = 64
    """Latent vectors, N (paper: 512; chosen: 64, for two CPU cores)."""
    width: int = 128
    """Channels of a latent, D (paper: 1024; chosen: 128, for two CPU cores)."""
    heads: int = 8
    """Heads of the latent self-attention (paper: 8)."""
    cross_heads: int = 1
    """Heads of the cross-attention (paper: 1)."""
    cross_width: int = 0
    """Channels of query, key and value in the cross-attention; 0: as many as the byte array has (paper)."""
    blocks: int = 2
    """Cross-attends, each followed by a latent transformer (paper: 8 on ImageNet, 2 elsewhere)."""
    layers: int = 4
    """Self-attention layers of one latent transformer (paper: 6 or 8)."""
    bands: int = 16
    """Fourier bands per axis, K (paper: 64)."""
    max_frequency: float = 0.0
    """Twice the highest frequency of the bands; 0: the number of positions along each axis (paper: 224)."""
    sharing: Sharing = "paper"
    """Who shares weights: paper (cross-attends 2..n one set, latent transformers one set), none, all."""
    attention: Form = "auto"
    """How the cross-attention is computed, all ways with the same result: textbook (keys and values of all
    positions), absorbed (folded into the queries, on torch's kernels), streamed (in chunks), separable (a
    grid's features axis by axis), auto (from geometry and device)."""
    mlp: FeedForward = "gelu"
    """What follows each attention: gelu (paper), or geglu, gated by a second linear (lucidrains' weights)."""
    widening: int = 1
    """Inner channels of that MLP, in widths (paper: 1; lucidrains' weights: 4)."""
    head_norm: bool = False
    """A LayerNorm between the latents' mean and the head (paper: none; lucidrains' weights have it)."""
    encoding: int = 4
    """Least channels of the learned modality encoding, where a sample holds several modalities (chosen)."""
    views: int = 1
    """Windows or subsets of a sample whose probabilities are averaged when it is evaluated or served
    (paper: 16 clips on AudioSet); 1: the middle of a clip, the first points of a cloud."""
    image: ImageTokens = field(default_factory=ImageTokens)
    """How an image becomes positions."""
    audio: AudioTokens = field(default_factory=AudioTokens)
    """How sound becomes positions."""
    mesh: MeshTokens = field(default_factory=MeshTokens)
    """How a point cloud becomes positions."""
    video: VideoTokens = field(default_factory=VideoTokens)
    """How video becomes positions."""

    def __post_init__(self) -> None:
        counts = (
            "latents",
            "width",
            "heads",
            "cross_heads",
            "blocks",
            "layers",
            "bands",
            "widening",
            "encoding",
            "views",
        )
        for name in counts:
            _whole(f"model.{name.replace('_', '-')}", getattr(self, name))
        _require(
            self.width % self.heads == 0,
            f"model.heads ({self.heads}) does not divide model.width ({self.width}): "
            f"a width of {-(-self.width // self.heads) * self.heads} would do, or other heads",
        )
        _require(
            self.cross_width % self.cross_heads == 0,
            f"model.cross-heads ({self.cross_heads}) does not divide model.cross-width ({self.cross_width})",
        )
        _require(
            self.max_frequency == 0 or self.max_frequency >= 2,
            f"model.max-frequency ({self.max_frequency}) must be 0 (resolution of each axis) or at least 2",
        )

    def bands_of(self, tokens: ImageTokens | AudioTokens | MeshTokens | VideoTokens) -> tuple[int, float]:
        """The bands and the max frequency of one modality, with what it leaves open filled in."""
        bands = self.bands if tokens.bands is None else tokens.bands
        return bands, self.max_frequency if tokens.max_frequency is None else tokens.max_frequency


@dataclass(frozen=True, kw_only=True)
class PixelAugmentation:
    area: float = 1.0
    """Least share of the area that a random crop keeps before it is scaled back; 1: off (Inception: 0.08)."""
    shift: int = 0
    """Pixels by which a picture is moved at most, up, down and sideways; edges are mirrored; 0: off."""
    flip: float = 0.0
    """Share of the pictures mirrored left to right; 0 to 1."""
    brightness: float = 0.0
    """Largest relative change of brightness; 0: off."""
    contrast: float = 0.0
    """Largest relative change of contrast; 0: off."""
    saturation: float = 0.0
    """Largest relative change of saturation; 0: off."""
    erase: float = 0.0
    """Share of the pictures that lose a rectangle of 2 to 33 % of their area; 0 to 1."""
    drop: float = 0.0
    """Share of the samples that lose this modality, where there are several (paper: 0.3 of the videos)."""

    def __post_init__(self) -> None:
        for name in ("area", "flip", "brightness", "contrast", "saturation", "erase", "drop"):
            _share(f"train.image/video.{name}", getattr(self, name))
        _require(self.area > 0, "train.image/video.area is 0: a crop must keep something; 1 switches it off")
        _whole("train.image/video.shift", self.shift, least=0)


@dataclass(frozen=True, kw_only=True)
class AudioAugmentation:
    time_masks: int = 0
    """Stretches of frames that SpecAugment hides in the mel spectrogram; 0: off."""
    time_share: float = 0.2
    """Longest such stretch, as a share of the window."""
    bin_masks: int = 0
    """Stretches of mel bins that SpecAugment hides; 0: off."""
    bin_share: float = 0.2
    """Widest such stretch, as a share of the bins."""
    drop: float = 0.0
    """Share of the samples that lose this modality, where there are several (paper: 0.3 of the videos)."""

    def __post_init__(self) -> None:
        _share("train.audio.time-share", self.time_share)
        _share("train.audio.bin-share", self.bin_share)
        _share("train.audio.drop", self.drop)
        _whole("train.audio.time-masks", self.time_masks, least=0)
        _whole("train.audio.bin-masks", self.bin_masks, least=0)


@dataclass(frozen=True, kw_only=True)
class MeshAugmentation:
    mirror: float = 0.0
    """Share of the clouds mirrored along each level axis; 0 to 1."""
    scale: float = 0.0
    """Largest relative change of size, drawn for each axis; 0: off."""
    stretch: float = 0.0
    """Largest relative change of each coordinate of each point (paper: 0.01); 0: off."""
    jitter: float = 0.0
    """Standard deviation of the noise on each coordinate, in units of the sphere's radius; 0: off."""
    turn: float = 0.0
    """Largest rotation about the upright axis, in degrees, either way; 180: any."""
    quarters: bool = False
    """Turn by 0, 90, 180 or 270 degrees about the upright axis."""
    tilt: float = 0.0
    """Largest rotation about a level axis, in degrees, either way."""
    up: Literal["x", "y", "z"] = "y"
    """The upright axis of the shapes."""
    drop: float = 0.0
    """Share of the samples that lose this modality, where there are several (paper: 0.3 of the videos)."""

    def __post_init__(self) -> None:
        for name in ("mirror", "scale", "stretch", "jitter", "drop"):
            _share(f"train.mesh.{name}", getattr(self, name))
        for name in ("turn", "tilt"):
            degrees = getattr(self, name)
            _require(0 <= degrees <= 180, f"train.mesh.{name} ({degrees}) is not between 0 and 180 degrees")


def _option(name: str) -> str:
    return f"train.{name.replace('_', '-')}"


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    epochs: float = 30.0
    """Times that every training sample is seen; used where train.steps is 0."""
    steps: int = 0
    """Optimizer steps of the whole run; 0: as train.epochs says."""
    batch: int = 64
    """Samples of one optimizer step, over all workers."""
    rate: float = 1e-3
    """Peak learning rate (paper: 0.004 on ImageNet, 0.001 on ModelNet40, both with LAMB)."""
    warmup: float = 0.05
    """Share of the run over which the rate climbs from zero to its peak."""
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    """How the rate falls after the warm-up: cosine to zero, step (see milestones), constant."""
    milestones: tuple[float, ...] = (0.7, 0.85, 0.95)
    """Shares of the run at which schedule = step multiplies the rate by train.decay
    (paper: epochs 84, 102, 114 of 120)."""
    decay: float = 0.1
    """Factor of each milestone (paper: 0.1)."""
    optimizer: Literal["adamw", "lamb"] = "adamw"
    """adamw, or lamb (paper)."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Decay per step of the averages of the gradient and of its square (chosen)."""
    weight_decay: float = 0.05
    """Decoupled weight decay of the matrices; never of biases, norms, latents and encodings (chosen)."""
    clip: float = 1.0
    """Largest norm of all gradients together; 0: not clipped."""
    label_smoothing: float = 0.0
    """Share of the target spread evenly over all classes."""
    recompute: bool = False
    """Compute every layer again in the backward pass instead of keeping what it made: at the cost of
    another forward pass."""
    precision: Precision = "float32"
    """Number format of the matrix products: bfloat16 pays on GPUs, not on CPUs without AMX."""
    ema: float = 0.0
    """Decay per step of the moving average of the weights that is evaluated and kept; 0: off."""
    save_every: int = 0
    """Optimizer steps between checkpoints; 0: one an epoch."""
    evaluate_every: int = 0
    """Optimizer steps between evaluations on the validation split; 0: one an epoch."""
    image: PixelAugmentation = field(default_factory=PixelAugmentation)
    """Random changes of training images."""
    audio: AudioAugmentation = field(default_factory=AudioAugmentation)
    """Random changes of training sounds."""
    mesh: MeshAugmentation = field(default_factory=MeshAugmentation)
    """Random changes of training point clouds."""
    video: PixelAugmentation = field(default_factory=PixelAugmentation)
    """Random changes of training videos, the same for all frames."""

    def __post_init__(self) -> None:
        _whole("train.batch", self.batch)
        for name in ("steps", "save_every", "evaluate_every"):
            _whole(_option(name), getattr(self, name), least=0)
        _require(
            self.steps > 0 or self.epochs > 0,
            f"train.steps ({self.steps}) and train.epochs ({self.epochs}) give a run of no length: set one",
        )
        _require(self.rate > 0, f"train.rate ({self.rate}) must be above 0")
        _require(
            0 <= self.warmup <= 1,
            f"train.warmup is {self.warmup:g} times the run, longer than the run: choose a share from 0 to 1",
        )
        for name in ("weight_decay", "clip"):
            value = getattr(self, name)
            _require(value >= 0, f"{_option(name)} ({value}) is negative: 0 switches it off")
        for name in ("ema", "label_smoothing"):
            value = getattr(self, name)
            _require(0 <= value < 1, f"{_option(name)} ({value}) must be below 1; 0 switches it off")
        _require(
            all(0 < m < 1 for m in self.milestones) and list(self.milestones) == sorted(self.milestones),
            f"train.milestones {self.milestones} are shares of the run: rising numbers between 0 and 1",
        )

    def total(self, samples: int) -> int:
        """Optimizer steps of the whole run on a training split of so many samples."""
        return self.steps or max(1, math.ceil(self.epochs * samples / self.batch - 1e-9))


PRESETS: dict[str, dict[str, bool | int | float | str]] = {
    # Sec. 4.1: 50,176 pixels x 261 channels, 8 cross-attends, 48 latent layers, 44,912,254 parameters.
    "imagenet": {
        "model.latents": 512,
        "model.width": 1024,
        "model.blocks": 8,
        "model.layers": 6,
        "model.bands": 64,
        "model.image.patch": 1,
        "train.epochs": 120,
        "train.optimizer": "lamb",
        "train.rate": 0.004,
        "train.schedule": "step",
        "train.image.area": 0.08,
        "train.image.flip": 0.5,
    },
    # Sec. 4.2: 32 frames in 2x8x8 blocks and 61,440 samples in 480 x 128; bands from Perceiver IO's code.
    "audioset": {
        "model.latents": 512,
        "model.width": 1024,
        "model.blocks": 2,
        "model.layers": 8,
        "model.sharing": "none",
        "model.audio.patch": 128,
        "model.audio.bands": 192,
        "model.video.bands": 32,
        "model.video.frames": 2,
        "model.video.patch": 8,
        "train.epochs": 100,
        "train.optimizer": "lamb",
        "train.video.flip": 0.5,
        "train.video.drop": 0.3,
    },
    # Sec. 4.3: about 2,000 points, at most 50,000 steps of 512.
    "modelnet40": {
        "model.latents": 512,
        "model.width": 1024,
        "model.blocks": 2,
        "model.layers": 6,
        "model.mesh.bands": 64,
        "model.mesh.max-frequency": 1120,
        "train.steps": 50_000,
        "train.batch": 512,
        "train.optimizer": "lamb",
        "train.rate": 0.001,
        "train.schedule": "constant",
        "train.mesh.stretch": 0.01,
    },
}
"""Options that a preset puts in front of the user's own, keyed as in the run file."""

# Flash attention takes heads of up to 256 channels: 62 bands give 3 + 2 x 125 = 253, 42 give 3 x 85 = 255.
PRESETS["imagenet-flash"] = {**PRESETS["imagenet"], "model.bands": 62, "train.precision": "bfloat16"}
PRESETS["modelnet40-flash"] = {**PRESETS["modelnet40"], "model.mesh.bands": 42, "train.precision": "bfloat16"}
