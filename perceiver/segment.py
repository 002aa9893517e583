"""What inputs hand to the model: one modality's part of the byte array, and how raw arrays come in.

Shapes: B samples, M positions, Cv channels of the values, P channels of the position table.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor, device, nn

from perceiver.settings import TrainSettings

Arrays = Sequence[np.ndarray[Any, np.dtype[Any]]]
Seeds = Int64[Tensor, " B"]


class Raw(NamedTuple):
    """A batch of one modality as stored: a static shape, and how much of it is real."""

    values: Shaped[Tensor, "B ..."]
    spans: Int64[Tensor, "B 2"] | None = None
    """First and end of the samples or frames that are real; none: all of them."""

    def to(self, place: device | str) -> "Raw":
        """The same batch on another device."""
        spans = None if self.spans is None else self.spans.to(place, non_blocking=True)
        return Raw(self.values.to(place, non_blocking=True), spans)


class Segment(NamedTuple):
    """One modality's positions, its channels not yet joined: row j is [values[:, j] | table[j]]."""

    values: Float[Tensor, "B M Cv"]
    """What differs from sample to sample."""
    table: Float[Tensor, "M P"] | None = None
    """What all samples share: the position features of the geometry."""
    mask: Bool[Tensor, "B M"] | None = None
    """True where the position is real; none: everywhere."""


class Input(nn.Module, ABC):
    """One modality: stored arrays -> static batch (`collate`) -> changed at random (`augment`) -> Segment."""

    positions: int
    """M, the positions that one sample occupies."""
    channels: int
    """Cv + P, the channels of a position."""

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
