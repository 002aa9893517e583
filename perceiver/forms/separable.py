"""The separable form: on a grid the position features are read axis by axis.

Position j = (r, c) of a grid of H x W places has the extended row y_j = [v_j | a_r | b_c] and the scale r_j
(forms/normed.py). So the score

    s_ij = r_j q_i . y_j = r_j (q_v,i . v_j + A_ri + B_ci)     A = a q_a^T  [H, R]     B = b q_b^T  [W, R]

costs the few channels of v at each position, and those of a and b only at H + W. With p = softmax_j(s)
and w_ij = p_ij r_j the read splits in the same way, sum_j w_ij y_j = [T_i | a^T R_i | b^T C_i], into

    T_i = sum_j w_ij v_j      R_ri = sum_c w_ij      C_ci = sum_r w_ij

The core below computes T, R, C and lse. A, B and the products with a and b are left to autograd; the unit
column of a is one more channel. Of more than two axes, all but the last are expanded to one.

Backward, with g_ij = dT_i . v_j + dR_ri + dC_ci and D_i = dT.T + dR.R + dC.C - dlse,

    ds_ij = p_ij (r_j g_ij - D_i)      dq_v,i = sum_j ds_ij r_j v_j
    dA_ri = sum_c ds_ij r_j            dB_ci = sum_r ds_ij r_j
    dr_j = sum_i (p_ij r_j g_ij + ds_ij s_ij) / r_j

All sums but the last carry r_j, so log2 r_j is a term of the exponent. Positions come first and queries last
in memory: reductions over positions then run along whole cache lines, five times as fast.

Shapes: B samples, R queries, H x W places, V channels of the values.
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
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

SCORES = {"cpu": (1 << 18, 512)}
"""Scores, and queries of them, that one block holds at most: what stays in a core's cache."""

POSITIONS = {"cpu": 4096}
"""Positions of one block at most: where queries are few, a product adds their weights one after another."""


class Separable:
    """One segment on a grid of two or more axes."""

    def __init__(self, rows: Normed) -> None:
        self.rows, self.seen = rows, rows.seen
        self.down, self.along = expanded(rows.axes[:-1]), rows.axes[-1]
        self.values = rows.values.unflatten(1, (len(self.down), len(self.along)))
        self.scale = rows.scale.view(self.values.shape[:3])
        bias = self.scale.detach().log2()
        self.bias = bias if rows.mask is None else bias.masked_fill(~rows.mask.view_as(bias), UNSEEN)

    @in_given_precision
    def read(self, queries: Float[Tensor, "B R C"]) -> Read:
        """As `Part.read`, in the precision of the rows."""
        lifted = self.rows.lift(queries.to(self.values.dtype)).mT
        sizes = [self.values.shape[3], self.down.shape[1], self.along.shape[1]]
        own, down, along = lifted.split(sizes, 1)
        total, of_rows, of_columns, lse = _forward(
            own, self.down @ down, self.along @ along, self.values, self.scale, self.bias
        )
        sums = torch.cat([total, self.down.mT @ of_rows, self.along.mT @ of_columns], 1)
        return self.rows.lower(sums.mT), lse * LN2


class Block(NamedTuple):
    """What is taken at a time."""

    samples: slice
    queries: slice
    rows: list[slice]


def blocks(shape: torch.Size, queries: int, device: torch.device) -> list[Block]:
    """Blocks of a grid [B, H, W]: some rows, at least one, of as many samples as the budget allows."""
    batch, height, width = shape[:3]
    budget, most = SCORES.get(device.type, (LAUNCH, queries))
    taken = min(queries, most)
    positions = min(budget // taken, POSITIONS.get(device.type, LAUNCH))
    rows = min(height, max(1, positions // width))
    together = max(1, budget // (width * taken * rows))
    return [
        Block(samples, some, slices(height, rows))
        for samples in slices(batch, together)
        for some in slices(queries, taken)
    ]


def forward(
    own: Float[Tensor, "B V R"],
    down: Float[Tensor, "B H R"],
    along: Float[Tensor, "B W R"],
    values: Float[Tensor, "B H W V"],
    scale: Float[Tensor, "B H W"],
    bias: Float[Tensor, "B H W"],
) -> tuple[Float[Tensor, "B V R"], Float[Tensor, "B H R"], Float[Tensor, "B W R"], Float[Tensor, "B R"]]:
    total, of_rows, of_columns = torch.empty_like(own), torch.empty_like(down), torch.empty_like(along)
    lse = own.new_empty(own.shape[0], own.shape[2])
    width = values.shape[2]
    for b, n, rows in blocks(values.shape, own.shape[2], own.device):
        q, a, c = (part[b, :, n] * LOG2E for part in (own, down, along))
        q = torch.cat([q, torch.ones_like(q[:, :1])], 1)
        r = scale[b, ..., None]
        tokens = torch.cat([values[b] * r, bias[b, ..., None]], 3).flatten(1, 2)  # b HW V+1
        reduced = torch.cat([values[b], 1 / r], 3).flatten(1, 2).mT.contiguous()  # b V+1 HW
        peak = q.new_full((len(q), 1, q.shape[2]), -math.inf)
        sums, columns, kept = torch.zeros_like(q), torch.zeros_like(c), torch.empty_like(a)
        for h in rows:
            places = slice(h.start * width, h.stop * width)
            s = _scores(tokens[:, places] @ q, a[:, h], c, r[:, h])
            flat = s.flatten(1, 2)
            higher = torch.maximum(peak, flat.amax(1, keepdim=True))
            fade, peak = torch.exp2(peak - higher), higher
            flat.sub_(peak).clamp_min_(FLOOR).exp2_()
            kept[:, : h.start].mul_(fade)
            torch.sum(s, 2, out=kept[:, h])
            _add_rows(columns.mul_(fade), s)
            sums.mul_(fade).add_(reduced[:, :, places] @ flat)
        mass = sums[:, -1:]
        total[b, :, n], of_rows[b, :, n], of_columns[b, :, n] = (
            sums[:, :-1] / mass,
            kept / mass,
            columns / mass,
        )
        lse[b, n] = (peak + mass.log2())[:, 0]
    return total, of_rows, of_columns, lse


def backward(
    grads: list[Tensor], inputs: list[Tensor], outputs: list[Tensor], learns: bool
) -> tuple[Float[Tensor, "B V R"], Float[Tensor, "B H R"], Float[Tensor, "B W R"], Float[Tensor, "B H W"]]:
    own, down, along, values, scale, bias = inputs
    down_, own_, along_ = torch.empty_like(down), torch.empty_like(own), torch.empty_like(along)
    dscale, lse, width = torch.zeros_like(scale), outputs[3], values.shape[2]
    drops = sum((d * y).sum(1) for d, y in zip(grads[:3], outputs[:3], strict=True)) - grads[3] * LOG2E
    for b, n, rows in blocks(values.shape, own.shape[2], own.device):
        q, a, c = (part[b, :, n] * LOG2E for part in (own, down, along))
        dq, da, dc = (part[b, :, n] for part in grads[:3])
        drop, base = drops[b, None, n], lse[b, None, n]
        one = torch.ones_like(drop)
        q, dq = torch.cat([q, one, -base], 1), torch.cat([dq, torch.zeros_like(one), -drop], 1)
        r = scale[b, ..., None]
        tokens = torch.cat([values[b] * r, bias[b, ..., None], torch.ones_like(r)], 3).flatten(1, 2)
        reduced = values[b].flatten(1, 2).mT.contiguous()
        sums, columns, kept = own.new_zeros(own[b, :, n].shape), torch.zeros_like(c), torch.empty_like(a)
        for h in rows:
            places = slice(h.start * width, h.stop * width)
            w = _scores(tokens[:, places] @ q, a[:, h], c, r[:, h])
            ds = _scores(tokens[:, places] @ dq, da[:, h], dc, r[:, h])
            scores = (w - bias[b, h, :, None] + base[:, None]) * LN2 if learns else None
            w.clamp_min_(FLOOR).exp2_()
            if scores is not None:
                learnt = scores.mul_(ds).add_(ds).add_(drop[:, None]).mul_(w).sum(3)
                dscale[b, h] += learnt / scale[b, h].square()
            ds.mul_(w)
            torch.sum(ds, 2, out=kept[:, h])
            _add_rows(columns, ds)
            sums.add_(reduced[:, :, places] @ ds.flatten(1, 2))
        own_[b, :, n], down_[b, :, n], along_[b, :, n] = sums, kept, columns
    return own_, down_, along_, dscale


def _scores(
    own: Float[Tensor, "b hW n"],
    of_rows: Float[Tensor, "b h n"],
    columns: Float[Tensor, "b W n"],
    scale: Float[Tensor, "b h W 1"],
) -> Float[Tensor, "b h W n"]:
    """To what the values give, what rows and columns add."""
    scores = own.view(*scale.shape[:3], -1)
    return scores.addcmul_(columns[:, None], scale).addcmul_(of_rows[:, :, None], scale)


def _add_rows(to: Float[Tensor, "b W n"], scores: Float[Tensor, "b h W n"]) -> None:
    """Sum over rows: one by one is five times as fast as `sum(1)`."""
    for row in scores.unbind(1):
        to.add_(row)


def _gradients(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
    saved, learns = ctx.saved_tensors, ctx.needs_input_grad[4]
    *found, dscale = _backward(list(grads), list(saved[:6]), list(saved[6:]), learns)
    return *found, None, dscale if learns else None, None


_forward = operator(
    "separable",
    "(Tensor own, Tensor down, Tensor along, Tensor values, Tensor scale, Tensor bias)"
    " -> (Tensor, Tensor, Tensor, Tensor)",
    forward,
    lambda *given: (*map(torch.empty_like, given[:3]), given[0].new_empty(given[0].shape[::2])),
)
_backward = operator(
    "separable_backward",
    "(Tensor[] grads, Tensor[] inputs, Tensor[] outputs, bool learns) -> (Tensor, Tensor, Tensor, Tensor)",
    backward,
    lambda *given: tuple(torch.empty_like(given[1][place]) for place in (0, 1, 2, 4)),
)
differentiable("separable", _gradients)
only_once("separable_backward")
