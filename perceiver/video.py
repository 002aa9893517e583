"""Video: uint8 [F, H, W, 3] -> one position per block of frames x patch x patch pixels.

Shapes: B samples, F frames of the window, H rows, W columns.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from perceiver.pixels import augmented
from perceiver.positions import Grid
from perceiver.segment import Arrays, Geometry, Input, Raw, Seeds, Segment, uniform_arrays
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings
from perceiver.windows import real, windows


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    frames: int
    """Frames of the window that the model sees."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    mean: tuple[float, ...]
    """Mean of each channel over the training split, in stored units (0 to 255)."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in stored units."""
    block: int
    """Frames that become one position."""
    patch: int
    """Side in pixels of the square that becomes one position."""
    bands: int
    """Fourier bands per axis."""
    max_frequency: float
    """Twice the highest frequency; 0: the number of positions along each axis."""

    def __post_init__(self) -> None:
        if self.height % self.patch or self.width % self.patch:
            raise ValueError(
                f"model.video.patch ({self.patch}) does not divide the frame of {self.height} x {self.width} "
                "pixels: choose a patch that does, or another data.video.size"
            )
        if self.frames % self.block:
            raise ValueError(
                f"model.video.frames ({self.block}) does not divide data.video.frames ({self.frames}): "
                f"{self.frames // self.block * self.block or self.block} frames would fit"
            )

    @classmethod
    def of(
        cls,
        model: ModelSettings,
        *,
        frames: int,
        height: int,
        width: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
    ) -> "VideoSpec":
        """What the model settings make of windows of this size and these statistics."""
        bands, top = model.bands_of(model.video)
        return cls(
            frames=frames,
            height=height,
            width=width,
            mean=mean,
            std=std,
            block=model.video.frames,
            patch=model.video.patch,
            bands=bands,
            max_frequency=top,
        )


class VideoInput(Input):
    """The byte array of a video; what lies around a short one is masked."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: VideoSpec) -> None:
        super().__init__()
        self.spec = spec
        sizes = (spec.frames // spec.block, spec.height // spec.patch, spec.width // spec.patch)
        self.grid = Grid(sizes, spec.bands, spec.max_frequency)
        self.register_buffer("mean", torch.tensor(spec.mean), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).clamp(min=1.0), persistent=False)
        self.geometry = Geometry.on(self.grid, 3 * spec.block * spec.patch**2)

    def collate(self, arrays: Arrays, seeds: Seeds | None) -> Raw:
        uniform_arrays(arrays, (-1, self.spec.height, self.spec.width, 3), "video")
        return windows(arrays, self.spec.frames, seeds)

    def augment(self, raw: Raw, seeds: Seeds, settings: TrainSettings) -> Raw:
        return raw._replace(values=augmented(raw.values, seeds, settings.video))

    def forward(self, raw: Raw) -> Segment:
        spec = self.spec
        x = (raw.values - self.mean) / self.std
        x = torch.where(real(raw.spans, spec.frames)[:, :, None, None, None], x, 0.0)
        x = x.unflatten(3, (-1, spec.patch)).unflatten(2, (-1, spec.patch)).unflatten(1, (-1, spec.block))
        # B t block rows patch columns patch 3 -> B t rows columns [block patch patch 3]
        values = x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4).flatten(1, 3)
        mask = real(raw.spans, spec.frames, spec.block)
        per_block = self.geometry.positions // mask.shape[1]
        return Segment(values, self.grid.axes, mask=mask.repeat_interleave(per_block, 1))
