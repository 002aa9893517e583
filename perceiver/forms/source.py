"""What every form of cross-attention is to the model: a byte array, prepared once, that queries read.

Shapes: B samples, H heads, N latents, M positions, E width of a head, C channels.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from perceiver.positions import expanded
from perceiver.segment import Segment


class Projections(NamedTuple):
    """What a cross-attend does to the byte array."""

    norm: nn.LayerNorm
    key: nn.Linear
    value: nn.Linear


@runtime_checkable
class Source(Protocol):
    """A byte array prepared for all cross-attends of a network."""

    def __call__(
        self, queries: Float[Tensor, "B H N E"], projections: Projections
    ) -> Float[Tensor, "B H N E"]:
        """softmax(queries k^T / sqrt(E)) v with k and v projected from the normed byte array."""
        ...


def joined(segments: Sequence[Segment]) -> tuple[Float[Tensor, "B M C"], Bool[Tensor, "B M"] | None]:
    """The byte array as the paper writes it, and where it is real.

    What is masked becomes 0 (a NaN would pass through a weight of 0); a sample with nothing real at all
    reads those zeros, so that it stays finite.
    """
    rows = torch.cat([_rows(segment) for segment in segments], 1)
    if all(segment.mask is None for segment in segments):
        return rows, None
    mask = torch.cat([_mask(segment) for segment in segments], 1)
    rows = torch.where(mask[..., None], rows, 0.0)
    return rows, mask | ~mask.any(1, keepdim=True)


def _rows(segment: Segment) -> Float[Tensor, "B M C"]:
    batch, positions, _ = segment.values.shape
    parts = [segment.values]
    if segment.axes:
        parts.append(expanded(segment.axes).expand(batch, -1, -1))
    if segment.encoding is not None:
        parts.append(segment.encoding.expand(batch, positions, -1))
    return torch.cat(parts, -1)


def _mask(segment: Segment) -> Bool[Tensor, "B M"]:
    if segment.mask is not None:
        return segment.mask
    return torch.ones(segment.values.shape[:2], dtype=torch.bool, device=segment.values.device)
