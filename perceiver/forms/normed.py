"""LayerNorm of rows whose channels are never joined.

Row j of a segment is x_j = [v_j | f_j | e]: values, position features, and the encoding that all rows share.
LayerNorm without gain and shift gives xhat_j = r_j (x_j - mean_j) with r_j = 1 / sqrt(var_j + eps). The part
of the mean that does not learn is m_j = (sum v_j + sum f_j) / C; the rest, sum(e) / C = n, is one number. So
with the extended row y_j = [v_j | m_j | f_j | 1], which is data,

    q . xhat_j = r_j lift(q) . y_j                lift(q) = [q_v | -sum(q) | q_f | q_e . e - n sum(q)]
    sum_j p_j xhat_j = lower(sum_j p_j r_j y_j)   lower(t) = [t_v - u | t_f - u | t_1 e - u], u = t_m + n t_1

and the gradients of e flow through lift, lower and r_j alone.

Shapes: B samples, M positions, V channels of the values, C of the row, K = C - E + 2 of the extended row,
R queries.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from perceiver.positions import expanded
from perceiver.segment import Segment

EPSILON = 1e-5
"""Of torch.nn.LayerNorm."""


class Normed(NamedTuple):
    """The extended rows of a segment, y_j = [values_j | axes at j], and the scale of each."""

    values: Float[Tensor, "B M W"]
    """[v | m]."""
    axes: tuple[Float[Tensor, "_ _"], ...]
    """[f | 1]: the position features of each axis, the first axis with a column of ones."""
    scale: Float[Tensor, "B M"]
    """r."""
    mask: Bool[Tensor, "B M"] | None
    """True where the position is real; elsewhere the values are 0."""
    encoding: Float[Tensor, " E"]
    """e, of no channels where there is none."""

    @property
    def seen(self) -> Bool[Tensor, "B 1 1"] | None:
        """Whether a sample has any real position."""
        return None if self.mask is None else self.mask.any(1)[:, None, None]

    @property
    def channels(self) -> list[int]:
        """Channels of the values and of each axis' features in the row x."""
        plain = [table.shape[1] for table in self.axes]
        return [self.values.shape[2] - 1, plain[0] - 1, *plain[1:]]

    def lift(self, queries: Float[Tensor, "B R C"]) -> Float[Tensor, "B R K"]:
        """Queries of rows -> queries of extended rows."""
        v, first, *others, e = queries.split([*self.channels, len(self.encoding)], 2)
        total = queries.sum(2, keepdim=True)
        one = e @ self.encoding[:, None] - total * self._mean
        return torch.cat([v, -total, first, one, *others], 2)

    def lower(self, sums: Float[Tensor, "B R K"]) -> Float[Tensor, "B R C"]:
        """Weighted sums of extended rows -> of normed rows."""
        values, first, *others = self.channels
        v, m, first, one, others = sums.split([values, 1, first, 1, sum(others)], 2)
        return torch.cat([v, first, others, one * self.encoding], 2) - (m + self._mean * one)

    @property
    def _mean(self) -> Float[Tensor, ""]:
        return self.encoding.sum() / (sum(self.channels) + len(self.encoding))


def normed(segment: Segment) -> Normed:
    """Extended rows and scales, statistics in float64.

    Raises:
        ValueError: the bytes or the features want a gradient, of which these forms would give a part.
    """
    if torch.is_grad_enabled() and any(part.requires_grad for part in (segment.values, *segment.axes)):
        raise ValueError(
            "values or position features require a gradient, the streamed and the separable form give one to "
            "encodings only: choose model.attention = textbook or absorbed"
        )
    values, mask, e = segment.values, segment.mask, segment.encoding
    encoding = values.new_zeros(0) if e is None else e.to(values.dtype)
    if mask is not None:
        values = torch.where(mask[..., None], values, 0.0)
    axes = segment.axes or (values.new_zeros(values.shape[1], 0),)
    channels = values.shape[2] + sum(table.shape[1] for table in axes) + len(encoding)
    total = values.sum(2, dtype=torch.float64) + _along(axes, 1)
    squares = values.square().sum(2, dtype=torch.float64) + _along(axes, 2)
    learned = encoding.double()
    mean = (total + learned.sum()) / channels
    variance = (squares + learned.square().sum()) / channels - mean.square()
    scale = (variance.clamp(min=0.0) + EPSILON).rsqrt().to(values.dtype)
    extended = torch.cat([values, (total / channels).to(values.dtype)[..., None]], 2)
    return Normed(extended, (F.pad(axes[0], (0, 1), value=1.0), *axes[1:]), scale, mask, encoding)


def _along(axes: tuple[Float[Tensor, "_ _"], ...], power: int) -> Float[Tensor, " M"]:
    """Sum of the features' powers at every place of the grid."""
    sums = tuple(table.double().pow(power).sum(1, keepdim=True) for table in axes)
    return expanded(sums).sum(1)
