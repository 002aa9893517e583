"""What a user chooses about the training of the network; importing it does not import torch.

Sources: "paper" is Jaegle et al. 2021, arXiv 2103.03206v2; "chosen" means that the paper does not say.
"""

import math
import re
from dataclasses import dataclass, field
from typing import Literal

from perceiver.bounds import require, share, whole

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class PixelAugmentation:
    area: float = 1.0
    """Least share of the area that a random crop keeps before it is scaled back; 1: off (Inception: 0.08)."""
    shift: int = 0
    """Pixels by which a picture is moved at most, up, down and sideways; edges are mirrored; 0: off."""
    flip: float = 0.0
    """Share of the pictures mirrored left to right; 0 to 1."""
    operations: int = 0
    """Operations of RandAugment that a picture goes through (its paper: 2 on ImageNet); 0: off."""
    magnitude: float = 9.0
    """Their strength, 0 to 10 (RandAugment's paper: 9 on ImageNet); no matter where operations is 0."""
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
            share(f"train.image/video.{name}", getattr(self, name))
        require(self.area > 0, "train.image/video.area is 0: a crop must keep something; 1 switches it off")
        for name in ("shift", "operations"):
            whole(f"train.image/video.{name}", getattr(self, name), least=0)
        require(
            0 <= self.magnitude <= 10,
            f"train.image/video.magnitude ({self.magnitude}) is not between 0 and 10",
        )


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
        share("train.audio.time-share", self.time_share)
        share("train.audio.bin-share", self.bin_share)
        share("train.audio.drop", self.drop)
        whole("train.audio.time-masks", self.time_masks, least=0)
        whole("train.audio.bin-masks", self.bin_masks, least=0)


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
            share(f"train.mesh.{name}", getattr(self, name))
        for name in ("turn", "tilt"):
            degrees = getattr(self, name)
            require(0 <= degrees <= 180, f"train.mesh.{name} ({degrees}) is not between 0 and 180 degrees")


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
    mixup: float = 0.0
    """Alpha of the Beta distribution from which MixUp's shares are drawn (its paper: 0.2 on ImageNet);
    0: off. Never of point clouds."""
    cutmix: float = 0.0
    """The same for CutMix (its paper: 1); 0: off. With both on each has half of the pairs."""
    recompute: bool = False
    """Compute every layer again in the backward pass instead of keeping what it made: at the cost of
    another forward pass."""
    precision: Precision = "float32"
    """Number format of the matrix products: bfloat16 pays on GPUs, not on CPUs without AMX; float16, with a
    moving loss scale, is for GPUs that know no bfloat16."""
    microbatch: int = 0
    """Most samples that one worker puts through the model at a time; the gradients of a step add up. 0: its
    whole part of the batch; where the number of workers may change, the part that it has of the most."""
    explosion: float = 10.0
    """Loss of a batch, in multiples of guessing's (log of the classes), above which the step is not taken; a
    loss or gradient that is no number never is. 0: only those."""
    patience: int = 3
    """Such steps in a row after which the weights go back to the newest checkpoint, and all batches since
    then are left out (PaLM, Sec. 5.1)."""
    rollbacks: int = 2
    """Times that the weights may go back; then the run stops with a report."""
    ema: float = 0.0
    """Decay per step of the moving average of the weights that is evaluated and kept; 0: off."""
    warm_start: str = ""
    """Alias (champion) or version number of the registered model `name` whose weights a training begins with;
    afresh where there is none yet. Empty: always afresh. Counts when a training begins."""
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
        whole("train.batch", self.batch)
        whole("train.patience", self.patience)
        for name in ("steps", "save_every", "evaluate_every", "microbatch", "rollbacks"):
            whole(_option(name), getattr(self, name), least=0)
        require(
            self.steps > 0 or self.epochs > 0,
            f"train.steps ({self.steps}) and train.epochs ({self.epochs}) give a run of no length: set one",
        )
        require(
            re.fullmatch(r"[\w-]*", self.warm_start) is not None,
            f"train.warm_start is {self.warm_start!r}: give an alias of the registered model (champion) or a "
            f"version number; the model is the run's own name",
        )
        require(self.rate > 0, f"train.rate ({self.rate}) must be above 0")
        require(
            0 <= self.warmup <= 1,
            f"train.warmup is {self.warmup:g} times the run, longer than the run: choose a share from 0 to 1",
        )
        for name in ("weight_decay", "clip", "explosion", "mixup", "cutmix"):
            value = getattr(self, name)
            require(value >= 0, f"{_option(name)} ({value}) is negative: 0 switches it off")
        require(
            all(0 <= beta < 1 for beta in self.betas),
            f"train.betas {self.betas} are shares per step: two numbers from 0 to below 1",
        )
        for name in ("ema", "label_smoothing"):
            value = getattr(self, name)
            require(0 <= value < 1, f"{_option(name)} ({value}) must be below 1; 0 switches it off")
        require(
            all(0 < m < 1 for m in self.milestones) and list(self.milestones) == sorted(self.milestones),
            f"train.milestones {self.milestones} are shares of the run: rising numbers between 0 and 1",
        )

    @property
    def blends(self) -> bool:
        """Whether two samples may become one."""
        return bool(self.mixup or self.cutmix)

    def total(self, samples: int) -> int:
        """Optimizer steps of the whole run on a training split of so many samples."""
        return self.steps or max(1, math.ceil(self.epochs * samples / self.batch - 1e-9))
