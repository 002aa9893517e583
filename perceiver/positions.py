"""Fourier features of positions, axis by axis: [x, sin(pi f_1 x) .. sin(pi f_K x), cos(pi f_1 x) .. cos].

Frequencies are spaced evenly from 1 to half the max frequency (Sec. 3.2). A grid keeps a table an axis, so
that the features of position (r, c) are [table 1 at r | table 2 at c] and the grid itself is never stored.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn


def frequencies(bands: int, max_frequency: float) -> Float[Tensor, " K"]:
    """Evenly spaced from 1 to half the max frequency."""
    return torch.linspace(1.0, max(1.0, max_frequency / 2), bands, dtype=torch.float64)


def features(x: Float[Tensor, "*S"], f: Float[Tensor, " K"]) -> Float[Tensor, "*S P"]:
    """2K + 1 channels for every coordinate."""
    angles = math.pi * x[..., None] * f
    return torch.cat([x[..., None], angles.sin(), angles.cos()], -1)


def axis(size: int, bands: int, max_frequency: float) -> Float[Tensor, "{size} P"]:
    """Features of `size` places spread evenly over [-1, 1]; max frequency 0 means their number."""
    x = torch.linspace(-1, 1, size, dtype=torch.float64) if size > 1 else torch.zeros(1, dtype=torch.float64)
    return features(x, frequencies(bands, max_frequency or float(size)))


class Grid(nn.Module):
    """The places of a grid in row-major order, a table of features for each axis; no parameters."""

    def __init__(self, sizes: Sequence[int], bands: int, max_frequency: float) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        for number, size in enumerate(sizes):
            table = axis(size, bands, max_frequency).to(torch.float32)
            self.register_buffer(f"axis_{number}", table, persistent=False)
        self.positions = math.prod(sizes)
        self.channels = sum(table.shape[1] for table in self.axes)

    @property
    def axes(self) -> tuple[Float[Tensor, "_ _"], ...]:
        """One table [size, 2K + 1] an axis."""
        return tuple(self.get_buffer(f"axis_{number}") for number in range(len(self.sizes)))


def expanded(axes: Sequence[Float[Tensor, "_ _"]]) -> Float[Tensor, "M P"]:
    """The features of every place of the grid, row-major, all axes side by side."""
    sizes = [len(table) for table in axes]
    views = [
        table.reshape(*(len(table) if i == j else 1 for j in range(len(sizes))), -1).expand(*sizes, -1)
        for i, table in enumerate(axes)
    ]
    return torch.cat(views, -1).flatten(0, -2)
