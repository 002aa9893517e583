"""What inputs hand to the model: one modality's part of the byte array, and how raw arrays come in.

Shapes: B samples, M positions, Cv channels of the values, E of the encoding.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, device, nn

from perceiver.positions import Grid
from perceiver.train_settings import TrainSettings

Arrays = Sequence[np.ndarray[Any, np.dtype[Any]]] | np.ndarray[Any, np.dtype[Any]]
"""An array a sample, or one [B, ...] of all samples."""
Seeds = Int64[Tensor, " B"]


class Raw(NamedTuple):
    """A batch of one modality as stored: a static shape, and how much of it is real."""

    values: Shaped[Tensor, "B ..."]
    spans: Int64[Tensor, "B 2"] | None = None
    """First and end of the samples or frames that are real; none: all of them."""
    there: Bool[Tensor, " B"] | None = None
    """False where the sample lacks this modality altogether; none: no sample does."""

    def to(self, place: device | str) -> "Raw":
        """The same batch on another device."""
        return self._each(lambda part: part.to(place, non_blocking=True))

    def pinned(self) -> "Raw":
        """The same batch in memory that a GPU copies from while the CPU goes on."""
        return self._each(Tensor.pin_memory)

    def rows(self, part: slice) -> "Raw":
        """Some of the samples."""
        return self._each(lambda whole: whole[part])

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Raw":
        return Raw(change(self.values), *(None if part is None else change(part) for part in self[1:]))


class Segment(NamedTuple):
    """One modality's positions, their channels not yet joined: [values of j | features of j | encoding].

    The byte array is data: gradients reach the encoding, not the values.
    """

    values: Float[Tensor, "B M Cv"]
    """What differs from sample to sample."""
    axes: tuple[Float[Tensor, "_ _"], ...] = ()
    """Position features of a grid of M places, a table [size, P] an axis; none: they are in the values."""
    encoding: Float[Tensor, " E"] | None = None
    """The learned encoding of the modality, the same at every position."""
    mask: Bool[Tensor, "B M"] | None = None
    """True where the position is real; none: everywhere."""


class Geometry(NamedTuple):
    """The size and the kind of one modality's part of the byte array."""

    positions: int
    """M, the positions that one sample occupies."""
    channels: int
    """Channels of a position: its values and its features."""
    values: int
    """Those of them that differ from sample to sample."""
    axes: int
    """Axes of the grid that the positions lie on; 0: none."""

    @classmethod
    def on(cls, grid: Grid, values: int) -> "Geometry":
        """Positions on a grid, with so many channels of values."""
        return cls(grid.positions, values + grid.channels, values, len(grid.sizes))


class Input(nn.Module, ABC):
    """One modality: stored arrays -> static batch (`collate`) -> changed at random (`augment`) -> Segment."""

    geometry: Geometry

    @abstractmethod
    def collate(self, arrays: Arrays, seeds: Seeds | None) -> Raw:
        """Cut every array to the static shape: at random with seeds, else always the same."""

    @abstractmethod
    def augment(self, raw: Raw, seeds: Seeds, settings: TrainSettings) -> Raw:
        """Change every sample at random, as its own seed says."""

    @abstractmethod
    def forward(self, raw: Raw) -> Segment:
        """The positions of a batch."""


def uniform_arrays(arrays: Arrays, shape: tuple[int, ...], what: str) -> None:
    """Refuse arrays whose shape (-1: any length) is not what the model was built for."""
    for place, array in enumerate(arrays):
        wanted = tuple(has if want == -1 else want for has, want in zip(array.shape, shape, strict=False))
        if array.shape != wanted or array.ndim != len(shape):
            raise ValueError(
                f"{what} {place} of the batch has shape {array.shape}, the model was built for {shape} "
                "(-1: any). Use the shards that it was trained on, or train anew."
            )
