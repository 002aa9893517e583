"""The textbook form: the byte array is joined, keys and values of all its positions are projected.

The reference of the other forms, and the one that can say where each latent looked.

Shapes: B samples, H heads, N latents, M positions, E width of a head.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from perceiver.forms.source import Projections, joined
from perceiver.segment import Segment


class Textbook:
    """k = LN(x) W_k + b_k, v = LN(x) W_v + b_v, read = softmax(q k^T / sqrt(E)) v."""

    def __init__(self, segments: Sequence[Segment]) -> None:
        self.rows, self.mask = joined(segments)

    def __call__(
        self, queries: Float[Tensor, "B H N E"], projections: Projections
    ) -> Float[Tensor, "B H N E"]:
        normed = projections.norm(self.rows)
        keys, values = (_heads(each(normed), queries) for each in (projections.key, projections.value))
        return self._softmax(queries, keys) @ values

    def weights(
        self, queries: Float[Tensor, "B H N E"], projections: Projections
    ) -> Float[Tensor, "B H N M"]:
        """The softmax matrix itself, N x M numbers a head."""
        return self._softmax(queries, _heads(projections.key(projections.norm(self.rows)), queries))

    def _softmax(
        self, queries: Float[Tensor, "B H N E"], keys: Float[Tensor, "B H M E"]
    ) -> Float[Tensor, "B H N M"]:
        scores = queries * queries.shape[-1] ** -0.5 @ keys.transpose(-1, -2)
        if self.mask is not None:
            scores = scores.masked_fill(~self.mask[:, None, None], -torch.inf)
        return scores.softmax(-1)


def _heads(x: Float[Tensor, "B M HE"], like: Float[Tensor, "B H N E"]) -> Float[Tensor, "B H M E"]:
    return x.unflatten(-1, (like.shape[1], like.shape[3])).transpose(1, 2)
