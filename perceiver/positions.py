"""Fourier features of positions, axis by axis: [x, sin(pi f_1 x) .. sin(pi f_K x), cos(pi f_1 x) .. cos].

Frequencies are spaced evenly from 1 to half the max frequency (Sec. 3.2). Keeping the axes apart, so that
a table's row is [axis 1 | axis 2 | ..], is what later lets a grid be attended to axis by axis.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


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


def grid(sizes: Sequence[int], bands: int, max_frequency: float) -> Float[Tensor, "M P"]:
    """Features of every cell of a grid in row-major order; in float64, cast at the end."""
    axes = [axis(size, bands, max_frequency) for size in sizes]
    views = [
        table.reshape(*(len(table) if i == j else 1 for j in range(len(sizes))), -1).expand(*sizes, -1)
        for i, table in enumerate(axes)
    ]
    return torch.cat(views, -1).flatten(0, -2).to(torch.float32)
