"""What a user chooses about the network; importing it does not import torch.

Sources: "paper" is Jaegle et al. 2021, arXiv 2103.03206v2; "chosen" means that the paper does not say.
"""

from dataclasses import dataclass, field
from typing import Literal

from perceiver.bounds import require, whole

Sharing = Literal["paper", "none", "all"]
Form = Literal["auto", "textbook", "absorbed", "streamed", "separable"]
FeedForward = Literal["gelu", "geglu"]
Labels = Literal["one", "several"]
"""How many classes a sample may belong to."""


@dataclass(frozen=True, kw_only=True)
class ImageTokens:
    patch: int = 1
    """Side in pixels of the square that becomes one position (paper: 1, every pixel)."""
    bands: int | None = None
    """Fourier bands per axis; none: model.bands."""
    max_frequency: float | None = None
    """Twice the highest frequency, in periods over half an axis; none: model.max-frequency."""

    def __post_init__(self) -> None:
        whole("model.image.patch", self.patch)


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
            whole(f"model.audio.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class MeshTokens:
    bands: int | None = None
    """Fourier bands per axis; none: model.bands (paper: 64)."""
    max_frequency: float = 20.0
    """Twice the highest frequency, in periods over the unit length (paper: 1120; chosen: 20, as thousands
    of points sampled anew at every visit cannot resolve more)."""

    def __post_init__(self) -> None:
        require(
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
            whole(f"model.video.{name}", getattr(self, name))


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    preset: Literal["none", "imagenet", "imagenet-flash", "audioset", "modelnet40", "modelnet40-flash"] = (
        "none"
    )
    """Figures of the paper that the run file and the options stand upon: perceiver/presets.py."""
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
    """Windows of a clip, or subsets of a cloud, drawn at random, whose probabilities are averaged when the
    sample is evaluated on the test split or served (paper: 16 clips on AudioSet, 1 crop on ImageNet); 1: the
    middle of a clip, the first points of a cloud. An image is seen whole in each."""
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
            whole(f"model.{name.replace('_', '-')}", getattr(self, name))
        require(
            self.width % self.heads == 0,
            f"model.heads ({self.heads}) does not divide model.width ({self.width}): "
            f"a width of {-(-self.width // self.heads) * self.heads} would do, or other heads",
        )
        require(
            self.cross_width % self.cross_heads == 0,
            f"model.cross-heads ({self.cross_heads}) does not divide model.cross-width ({self.cross_width})",
        )
        require(
            self.max_frequency == 0 or self.max_frequency >= 2,
            f"model.max-frequency ({self.max_frequency}) must be 0 (resolution of each axis) or at least 2",
        )

    def bands_of(self, tokens: ImageTokens | AudioTokens | MeshTokens | VideoTokens) -> tuple[int, float]:
        """The bands and the max frequency of one modality, with what it leaves open filled in."""
        bands = self.bands if tokens.bands is None else tokens.bands
        return bands, self.max_frequency if tokens.max_frequency is None else tokens.max_frequency
