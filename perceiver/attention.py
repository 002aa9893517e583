"""Attention, the one operation the model is made of.

Shapes: B samples, N latents, M positions, D latent width, C input channels, H heads, E width of a head.
"""

from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from perceiver.forms.source import Projections, Source
from perceiver.settings import FeedForward


def _heads(x: Float[Tensor, "B L W"], heads: int) -> Float[Tensor, "B H L E"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class Attention(nn.Module):
    """softmax(q k^T / sqrt(width per head)) v, between projections with biases."""

    def __init__(self, *, width: int, source: int, inner: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(source, inner)
        self.value = nn.Linear(source, inner)
        self.out = nn.Linear(inner, width)

    def forward(
        self, reader: Float[Tensor, "B N D"], source: Float[Tensor, "B M C"]
    ) -> Float[Tensor, "B N D"]:
        q, k, v = (
            _heads(project(x), self.heads)
            for project, x in ((self.query, reader), (self.key, source), (self.value, source))
        )
        read = F.scaled_dot_product_attention(q, k, v)
        return cast(Tensor, self.out(read.transpose(1, 2).flatten(2)))


class GEGLU(nn.Module):
    """The first half of the channels, gated by the GELU of the second (arXiv 2002.05202)."""

    def forward(self, x: Float[Tensor, "B N I2"]) -> Float[Tensor, "B N I"]:
        value, gate = x.chunk(2, -1)
        return value * F.gelu(gate)


class MLP(nn.Sequential):
    """LayerNorm, linear, GELU, linear; in the paper without widening (Sec. 3.2 and DeepMind's code)."""

    def __init__(self, width: int, kind: FeedForward = "gelu", widening: int = 1) -> None:
        inner = widening * width
        grown, activation = (inner, nn.GELU()) if kind == "gelu" else (2 * inner, GEGLU())
        super().__init__(nn.LayerNorm(width), nn.Linear(width, grown), activation, nn.Linear(inner, width))


class CrossAttend(nn.Module):
    """The latents read the byte array: N x M scores, linear in the input's size."""

    def __init__(
        self,
        *,
        width: int,
        channels: int,
        inner: int,
        heads: int,
        mlp: FeedForward = "gelu",
        widening: int = 1,
    ) -> None:
        super().__init__()
        self.latent_norm = nn.LayerNorm(width)
        self.byte_norm = nn.LayerNorm(channels)
        self.attention = Attention(width=width, source=channels, inner=inner, heads=heads)
        self.mlp = MLP(width, mlp, widening)

    def forward(self, latents: Float[Tensor, "B N D"], byte_array: Source) -> Float[Tensor, "B N D"]:
        read = byte_array(self.queries(latents), self.projections)
        latents = latents + self.attention.out(read.transpose(1, 2).flatten(2))
        return latents + self.mlp(latents)

    def queries(self, latents: Float[Tensor, "B N D"]) -> Float[Tensor, "B H N E"]:
        """What the latents ask."""
        return _heads(self.attention.query(self.latent_norm(latents)), self.attention.heads)

    @property
    def projections(self) -> Projections:
        """What is done to the byte array before it is read."""
        return Projections(self.byte_norm, self.attention.key, self.attention.value)


class SelfAttend(nn.Module):
    """The latents read each other: N x N scores, whatever the input's size."""

    def __init__(self, *, width: int, heads: int, mlp: FeedForward = "gelu", widening: int = 1) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width=width, source=width, inner=width, heads=heads)
        self.mlp = MLP(width, mlp, widening)

    def forward(self, latents: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        normed = self.norm(latents)
        latents = latents + self.attention(normed, normed)
        return latents + self.mlp(latents)
