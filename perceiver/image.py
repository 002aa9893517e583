"""Images: uint8 [H, W, 3] -> one position per pixel (or patch), with features of row and column."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from perceiver.pixels import augmented
from perceiver.positions import Grid
from perceiver.segment import Arrays, Geometry, Input, Raw, Seeds, Segment, uniform_arrays
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    mean: tuple[float, ...]
    """Mean of each channel over the training split, in stored units (0 to 255)."""
    std: tuple[float, ...]
    """Standard deviation of each channel, in stored units."""
    patch: int
    """Side in pixels of the square that becomes one position."""
    bands: int
    """Fourier bands per axis."""
    max_frequency: float
    """Twice the highest frequency; 0: the number of positions along each axis."""

    def __post_init__(self) -> None:
        if self.height % self.patch or self.width % self.patch:
            raise ValueError(
                f"model.image.patch ({self.patch}) does not divide the image of {self.height} x {self.width} "
                "pixels: choose a patch that does, or another data.image.size"
            )

    @classmethod
    def of(
        cls, model: ModelSettings, *, height: int, width: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> "ImageSpec":
        """What the model settings make of images of this size and these statistics."""
        bands, top = model.bands_of(model.image)
        return cls(
            height=height,
            width=width,
            mean=mean,
            std=std,
            patch=model.image.patch,
            bands=bands,
            max_frequency=top,
        )


class ImageInput(Input):
    """The byte array of an image."""

    mean: Tensor
    std: Tensor

    def __init__(self, spec: ImageSpec) -> None:
        super().__init__()
        self.spec = spec
        sizes = (spec.height // spec.patch, spec.width // spec.patch)
        self.grid = Grid(sizes, spec.bands, spec.max_frequency)
        self.register_buffer("mean", torch.tensor(spec.mean), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).clamp(min=1.0), persistent=False)
        self.geometry = Geometry.on(self.grid, 3 * spec.patch**2)

    def collate(self, arrays: Arrays, seeds: Seeds | None) -> Raw:  # noqa: ARG002, an image is seen whole
        uniform_arrays(arrays, (self.spec.height, self.spec.width, 3), "image")
        return Raw(torch.from_numpy(arrays if isinstance(arrays, np.ndarray) else np.stack(arrays)))

    def augment(self, raw: Raw, seeds: Seeds, settings: TrainSettings) -> Raw:
        return raw._replace(values=augmented(raw.values[:, None], seeds, settings.image)[:, 0])

    def forward(self, raw: Raw) -> Segment:
        return Segment(self.tokens((raw.values - self.mean) / self.std), self.grid.axes)

    def tokens(self, x: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B M Cv"]:
        """Row-major squares, each pixel's channels together."""
        side = self.spec.patch
        x = x.unflatten(2, (-1, side)).unflatten(1, (-1, side))  # B rows side columns side 3
        return x.permute(0, 1, 3, 2, 4, 5).flatten(3).flatten(1, 2)
