"""The projections folded into the queries, so that no key and no value of M positions is ever made.

With LN(x) = g * xhat + s (gain g, shift s; xhat the normed row) and W_k, W_v as matrices [C, E] of one head:

    score_ij = q_i . (LN(x_j) W_k + b_k) / sqrt(E) = q'_i . xhat_j + c_i      q'_i = (q_i W_k^T) * g / sqrt(E)
    read_i   = sum_j p_ij (LN(x_j) W_v + b_v) = (a_i * g) W_v + s W_v + b_v      a_i = sum_j p_ij xhat_j

c_i holds what the key bias and the shift add: the same for all j of all parts, so the softmax cancels it. All
heads and all cross-attends read the same xhat; heads are just more queries. Parts of a byte array are read
each by itself and merged: with l_pi = log of the sum of exponentials over part p,
a_i = sum_p softmax_p(l_pi) a_pi.

Shapes: B samples, H heads, N latents, R = H N queries, C channels, E width of a head.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from perceiver.forms.source import Projections

Read = tuple[Float[Tensor, "B R C"], Float[Tensor, "B R"]]
"""sum_j p_ij xhat_j over a part, and log sum_j exp(q'_i . xhat_j), natural."""

UNSEEN = -1e30
"""Score of what is masked: finite, so that a sample with nothing real stays finite."""


@runtime_checkable
class Part(Protocol):
    """One part of the byte array, prepared."""

    @property
    def seen(self) -> Bool[Tensor, "B 1 1"] | None:
        """Whether the sample has any real position in this part; none: all have."""
        ...

    def read(self, queries: Float[Tensor, "B R C"]) -> Read:
        """Attend with folded queries, already divided by sqrt(E)."""
        ...


class Folded:
    """A byte array of several parts, each read in a form of its own."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = parts

    def __call__(
        self, queries: Float[Tensor, "B H N E"], projections: Projections
    ) -> Float[Tensor, "B H N E"]:
        heads, latents, width = queries.shape[1:]
        gain, shift = projections.norm.weight, projections.norm.bias
        keys, values = (
            (each.weight * gain).unflatten(0, (heads, width)) for each in (projections.key, projections.value)
        )
        folded = (queries * width**-0.5) @ keys  # B H N C
        read = self.merged(folded.flatten(1, 2)).unflatten(1, (heads, latents))
        constant = projections.value.weight @ shift + projections.value.bias
        # The key bias adds 0, and gets the gradient of 0 that distributed training waits for.
        constant = (constant + 0 * projections.key.bias).unflatten(0, (heads, 1, width))
        return read @ values.transpose(1, 2) + constant

    def merged(self, queries: Float[Tensor, "B R C"]) -> Float[Tensor, "B R C"]:
        """What the queries read in all parts together."""
        reads = [_seen(part, part.read(queries)) for part in self.parts]
        if len(reads) == 1:
            return reads[0][0]
        shares = torch.stack([lse for _, lse in reads]).softmax(0)
        return sum(
            (share[..., None] * read for share, (read, _) in zip(shares, reads, strict=True)),
            torch.zeros_like(reads[0][0]),
        )


def _seen(part: Part, found: Read) -> Read:
    """A part of which a sample has nothing gives zeros and no weight, whatever lies in it."""
    read, lse = found
    if part.seen is None:
        return found
    return torch.where(part.seen, read, 0.0), torch.where(part.seen[..., 0], lse, UNSEEN)
