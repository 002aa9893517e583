"""What the model's benchmark measures: geometries, and who is measured on each.

Importing it imports neither torch nor `perceiver`, so that every contestant's process can.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

FORMS = ("textbook", "absorbed", "streamed", "separable")
# lucidrains is measured twice, with its own Fourier features and with a ready byte array; the faster counts.
PEERS = ("lucidrains", "lucidrains-ready", "transformers", "krasserm")


@dataclass(frozen=True, kw_only=True)
class Case:
    about: str
    """One line for the table."""
    contestants: tuple[str, ...] = ("ours", *PEERS)
    """The first one is what all others are divided by."""
    part: Literal["network", "cross-attend"] = "network"
    """The whole network, or the attention of its first cross-attend alone."""
    kind: Literal["image", "mel", "wave", "video", "points"] = "image"
    """What is read."""
    sizes: tuple[int, ...] = (224, 224)
    """Positions along every axis."""
    bands: int = 64
    """Fourier bands per axis."""
    latents: int = 512
    """N."""
    width: int = 512
    """D."""
    heads: int = 8
    """Heads of the latent self-attention; the cross-attention has one."""
    blocks: int = 2
    """Cross-attends, each followed by a latent transformer."""
    layers: int = 2
    """Self-attention layers of one latent transformer."""
    batch: int = 1
    """Samples."""
    classes: int = 1000
    """Logits."""
    rounds: int = 7
    """Rounds that count, unless --rounds says otherwise."""

    @property
    def positions(self) -> int:
        """M."""
        return math.prod(self.sizes)


def _image(side: int, **changed: Any) -> Case:
    facts = {"about": f"{side} x {side} pixels, 2 x (1 + 2)", "sizes": (side, side)}
    return Case(**(facts | changed))


def _grown(what: str, **changed: Any) -> Case:
    return _image(112, about=f"112 x 112 pixels, {what}", contestants=("ours", "transformers"), **changed)


def _cross(about: str, **changed: Any) -> Case:
    contestants = ("ours", "naive", *(f"ours-{form}" for form in FORMS))
    facts = {
        "part": "cross-attend",
        "contestants": contestants,
        "blocks": 1,
        "layers": 1,
        "sizes": (224, 224),
    }
    return Case(about=f"one cross-attend: {about}", **(facts | changed))


SIDES = {56: 9, 80: 9, 112: 9, 160: 7, 224: 7, 320: 4, 448: 3}  # side: rounds

CASES = {
    **{f"image-{side}": _image(side, rounds=rounds) for side, rounds in SIDES.items()},
    "paper-imagenet": _image(
        224,
        about="the paper's ImageNet model, 8 x (1 + 6), N=512, D=1024, one sample",
        contestants=("ours", "ours-recompute", *PEERS),
        width=1024,
        blocks=8,
        layers=6,
        rounds=2,
    ),
    "small": _image(
        32,
        about="32 x 32 pixels, 2 x (1 + 4), N=96, D=384, 8 samples",
        bands=16,
        latents=96,
        width=384,
        layers=4,
        batch=8,
        rounds=15,
    ),
    "cross-image": _cross("224 x 224 pixels"),
    "cross-mel": _cross("log-mel of 60 frames x 80 bins", kind="mel", sizes=(60, 80), rounds=15),
    # DeepMind's Perceiver IO code: 32 bands for video, 192 for the waveform; the paper does not say.
    "cross-video": _cross(
        "video of 16 x 28 x 28 blocks", kind="video", sizes=(16, 28, 28), bands=32, rounds=9
    ),
    "cross-wave": _cross("waveform of 480 x 128 samples", kind="wave", sizes=(480,), bands=192, rounds=15),
    "cross-wave-128": _cross(
        "waveform of 480 x 128 samples, N=128", kind="wave", sizes=(480,), bands=192, latents=128, rounds=15
    ),
    "cross-points": _cross("2,048 points", kind="points", sizes=(2048,), rounds=15),
    **{f"latents-{n}": _grown(f"N={n}", latents=n) for n in (64, 128, 256, 1024)},
    **{f"blocks-{n}": _grown(f"{n} x (1 + 2)", blocks=n) for n in (1, 4, 8)},
}

# axis of growth: the cases along it (all else equal) and what grows
GROWTH = {
    "positions": [f"image-{side}" for side in SIDES],
    "latents": ["latents-64", "latents-128", "latents-256", "image-112", "latents-1024"],
    "blocks": ["blocks-1", "image-112", "blocks-4", "blocks-8"],
}
