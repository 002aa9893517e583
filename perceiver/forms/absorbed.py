"""The absorbed form: folded queries, normed rows, torch's own attention kernels.

read = softmax(q' xhat^T) xhat with keys = values = xhat, made once for all cross-attends. On a GPU this runs
on flash attention in half precision, without a mask and up to 256 channels, else on the memory-efficient
kernel; neither keeps the N x M matrix. torch gives no log-sum-exp that could be differentiated, so several
segments are joined into one part.

Shapes: B samples, R queries, M positions, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from perceiver.forms.folding import Read
from perceiver.forms.normed import EPSILON
from perceiver.forms.source import joined
from perceiver.segment import Segment


class Absorbed:
    """All segments as one part."""

    seen: None = None

    def __init__(self, segments: Sequence[Segment]) -> None:
        rows, self.mask = joined(segments)
        normed = F.layer_norm(rows, rows.shape[-1:], eps=EPSILON)
        kind = rows.device.type
        if torch.is_autocast_enabled(kind):
            normed = normed.to(torch.get_autocast_dtype(kind))  # here, not again in every cross-attend
        self.rows = F.pad(normed, (0, -normed.shape[-1] % 8))  # flash attention's multiple

    def read(self, queries: Float[Tensor, "B R C"]) -> Read:
        """As `Part.read`; the log-sum-exp of the only part is of no use to anyone."""
        padded = F.pad(queries, (0, self.rows.shape[-1] - queries.shape[-1])).to(self.rows.dtype)
        rows, mask = self.rows[:, None], None if self.mask is None else self.mask[:, None, None]
        read = F.scaled_dot_product_attention(padded[:, None], rows, rows, attn_mask=mask, scale=1.0)
        return read[:, 0, :, : queries.shape[-1]], queries.new_zeros(queries.shape[:2])
