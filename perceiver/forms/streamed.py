"""The streamed form: the byte array passes by in chunks, the softmax is carried along.

With extended rows y_j, their scale r_j (forms/normed.py) and scores s_ij = r_j q_i . y_j, chunk by chunk

    m' = max(m, max_j s_ij)      l = l e^(m - m') + sum_j e^(s_ij - m')
                                 o = o e^(m - m') + sum_j e^(s_ij - m') r_j y_j

and at the end read = o / l, lse = m + log l. Backward, every chunk is made again from the bytes: with
p_ij = e^(s_ij - lse_i), dp_ij = r_j dread_i . y_j and D_i = dread_i . read_i - dlse_i,

    ds_ij = p_ij (dp_ij - D_i)      dq_i = sum_j ds_ij r_j y_j
                                    dr_j = sum_i (p_ij dp_ij + ds_ij s_ij) / r_j

The rows are data and get no gradient, so dK and dV, half of the work of a usual backward pass, are never
formed, and dr only where an encoding learns. Memory: one chunk, whatever M.

Shapes: B samples, R queries, M positions, W channels of the values, T of the table, K = W + T.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from perceiver.forms.chunks import (
    FLOOR,
    LAUNCH,
    LN2,
    LOG2E,
    differentiable,
    in_given_precision,
    only_once,
    operator,
    slices,
)
from perceiver.forms.folding import UNSEEN, Read
from perceiver.forms.normed import Normed
from perceiver.positions import expanded

SCORES = {"cpu": 1 << 19}
"""Scores that one chunk holds at most: what stays in a core's cache."""


class Streamed:
    """One segment."""

    def __init__(self, rows: Normed) -> None:
        table = expanded(rows.axes)
        self.channels = rows.values.shape[2] + table.shape[1]
        self.rows, self.seen = rows, rows.seen
        self.spare = -self.channels % 8  # matrix products of 264 channels take 4/5 of the time of 261
        self.table = F.pad(table, (0, self.spare))

    @in_given_precision
    def read(self, queries: Float[Tensor, "B R C"]) -> Read:
        """As `Part.read`, in the precision of the rows."""
        rows = self.rows
        lifted = F.pad(rows.lift(queries.to(rows.values.dtype)), (0, self.spare))
        read, lse = _forward(lifted, rows.values, self.table, rows.scale, rows.mask)
        return rows.lower(read[..., : self.channels]), lse * LN2


def blocks(queries: Float[Tensor, "B R K"], positions: int) -> tuple[list[slice], list[slice]]:
    """Samples and positions that are taken at a time."""
    batch, count = queries.shape[0], queries.shape[1]
    budget = SCORES.get(queries.device.type, LAUNCH)
    chunk = min(positions, max(1, budget // count))
    together = max(1, budget // (count * chunk))
    return slices(batch, together), slices(positions, chunk)


def forward(
    q: Float[Tensor, "B R K"],
    values: Float[Tensor, "B M W"],
    table: Float[Tensor, "M T"],
    scale: Float[Tensor, "B M"],
    mask: Bool[Tensor, "B M"] | None,
) -> tuple[Float[Tensor, "B R K"], Float[Tensor, "B R"]]:
    read, lse, doubled = torch.empty_like(q), q.new_empty(q.shape[:2]), q * LOG2E
    samples, chunks = blocks(q, len(table))
    for b in samples:
        peak = q.new_full((*lse[b].shape, 1), -math.inf)
        total, sums = torch.zeros_like(peak), torch.zeros_like(q[b])
        for m in chunks:
            y = _chunk(values, table, scale, b, m)
            p = doubled[b] @ y.mT
            _hide(p, mask, b, m)
            higher = torch.maximum(peak, p.amax(2, keepdim=True))
            fade, peak = torch.exp2(peak - higher), higher
            p.sub_(peak).clamp_min_(FLOOR).exp2_()
            total.mul_(fade).add_(p.sum(2, keepdim=True))
            sums.mul_(fade).baddbmm_(p, y)
        torch.div(sums, total, out=read[b])
        lse[b] = (peak + total.log2())[..., 0]
    return read, lse


def backward(  # noqa: PLR0913, PLR0917, what autograd hands over
    dread: Float[Tensor, "B R K"],
    dlse: Float[Tensor, "B R"],
    q: Float[Tensor, "B R K"],
    values: Float[Tensor, "B M W"],
    table: Float[Tensor, "M T"],
    scale: Float[Tensor, "B M"],
    mask: Bool[Tensor, "B M"] | None,
    read: Float[Tensor, "B R K"],
    lse: Float[Tensor, "B R"],
    learns: bool,
) -> tuple[Float[Tensor, "B R K"], Float[Tensor, "B M"]]:
    dq, dscale = torch.zeros_like(q), torch.zeros_like(scale)
    drop = (dread * read).sum(2, keepdim=True) - dlse[..., None] * LOG2E
    both = torch.cat([q * LOG2E, dread], 1)  # one product gives the scores and dp
    samples, chunks = blocks(q, len(table))
    for b in samples:
        for m in chunks:
            y = _chunk(values, table, scale, b, m)
            p, ds = (both[b] @ y.mT).chunk(2, 1)
            scores = p * LN2 if learns else None
            _hide(p, mask, b, m)
            p.sub_(lse[b, :, None]).clamp_min_(FLOOR).exp2_()
            ds.sub_(drop[b])
            if scores is not None:
                dscale[b, m] = scores.mul_(ds).add_(ds).add_(drop[b]).mul_(p).sum(1) / scale[b, m]
            dq[b].baddbmm_(ds.mul_(p), y)
    return dq, dscale if mask is None else dscale.masked_fill_(~mask, 0.0)


def _chunk(
    values: Float[Tensor, "B M W"],
    table: Float[Tensor, "M T"],
    scale: Float[Tensor, "B M"],
    b: slice,
    m: slice,
) -> Float[Tensor, "b m K"]:
    part = values[b, m]
    y = torch.cat([part, table[m].expand(len(part), -1, -1)], 2)
    return y.mul_(scale[b, m, None])


def _hide(scores: Float[Tensor, "b R m"], mask: Bool[Tensor, "B M"] | None, b: slice, m: slice) -> None:
    if mask is not None:
        scores.masked_fill_(~mask[b, None, m], UNSEEN)


def _gradients(ctx: Any, dread: Tensor, dlse: Tensor) -> tuple[Tensor | None, ...]:
    learns = ctx.needs_input_grad[3]
    dq, dscale = _backward(dread.contiguous(), dlse, *ctx.saved_tensors, learns)
    return dq, None, None, dscale if learns else None, None


_forward = operator(
    "streamed",
    "(Tensor q, Tensor values, Tensor table, Tensor scale, Tensor? mask) -> (Tensor, Tensor)",
    forward,
    lambda q, *_: (torch.empty_like(q), q.new_empty(q.shape[:2])),
)
_backward = operator(
    "streamed_backward",
    "(Tensor dread, Tensor dlse, Tensor q, Tensor values, Tensor table, Tensor scale, Tensor? mask, "
    "Tensor read, Tensor lse, bool learns) -> (Tensor, Tensor)",
    backward,
    lambda *given: (torch.empty_like(given[2]), torch.empty_like(given[5])),
)
differentiable("streamed", _gradients)
only_once("streamed_backward")
