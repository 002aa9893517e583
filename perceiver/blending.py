"""MixUp (arXiv 1710.09412) and CutMix (arXiv 1905.04899): two samples in one, and their classes by shares.

Rows 2k and 2k + 1 of a slice are partners; what becomes of them follows from the two and their seeds alone,
so slices that begin and end at even rows give the same. An odd last row stays as it is.

Shapes: B samples, K classes.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from perceiver.draws import uniforms
from perceiver.segment import Raw
from perceiver.train_settings import TrainSettings

Seeds = Int64[Tensor, " B"]
Each = Float[Tensor, " B"]
Shares = Float[Tensor, "B K"]

AXES = {"image": (1, 2), "video": (2, 3), "audio": (1,)}
"""Axes of the values along which CutMix cuts: rows and columns, of all frames alike; time."""


class Blend(NamedTuple):
    """What happens to each row; partners have the same but for `partner`."""

    partner: Int64[Tensor, " B"]
    """The other row of the pair; the row itself where there is none."""
    own: Each
    """The share of itself that a sample keeps."""
    cut: Bool[Tensor, " B"]
    """Whether a part of it is replaced (CutMix), or all of it mixed (MixUp)."""
    pair: Seeds
    """A seed for both."""


def blended(
    batch: Mapping[str, Raw], targets: Shares, seeds: Seeds, settings: TrainSettings
) -> tuple[dict[str, Raw], Shares]:
    """A training batch, already augmented, and its shares of the classes.

    Who lacks a modality lacks it still: that is drawn for the row, and the values are good all the same.
    """
    if unknown := batch.keys() - AXES.keys():
        raise ValueError(f"{', '.join(unknown)} cannot be blended: {', '.join(AXES)} can")
    if not (settings.mixup or settings.cutmix):
        return dict(batch), targets
    blend = drawn(seeds, settings)
    kept: list[Each] = []
    changed: dict[str, Raw] = {}
    for modality, raw in batch.items():
        inside = cut_out(raw.values, AXES[modality], blend)
        kept.append(torch.where(blend.cut, 1 - inside.flatten(1).float().mean(1), blend.own))
        changed[modality] = _joined(raw, inside, blend)
    share = torch.stack(kept).mean(0)[:, None]
    return changed, share * targets + (1 - share) * targets[blend.partner]


def drawn(seeds: Seeds, settings: TrainSettings) -> Blend:
    """Where both ways are on, each has half of the pairs."""
    rows = torch.arange(len(seeds), device=seeds.device)
    partner = torch.where(rows ^ 1 < len(seeds), rows ^ 1, rows)
    pair = seeds + seeds[partner]
    either = 0.5 if settings.mixup and settings.cutmix else float(settings.cutmix > 0)
    cut = uniforms(pair, "blend way", 1)[:, 0] < either
    mixed = symmetric_beta(pair, "mixup share", settings.mixup or 1.0)
    kept = symmetric_beta(pair, "cutmix share", settings.cutmix or 1.0)
    own = torch.where(partner == rows, 1.0, torch.where(cut, kept, mixed))
    return Blend(partner, own, cut, pair)


def symmetric_beta(seeds: Seeds, purpose: str, alpha: float) -> Each:
    """Beta(alpha, alpha) from four uniform numbers, without rejection.

    Ulrich's formula gives W of Beta(alpha + 1, alpha + 1) for any alpha; with independent gamma numbers
    G(alpha) = G(alpha + 1) U^(1 / alpha) it becomes W U^(1 / alpha) : (1 - W) V^(1 / alpha).
    """
    first, second, own, other = (1 - uniforms(seeds, purpose, 4).double()).unbind(1)  # above 0
    away = (1 - first ** (2 / (2 * alpha + 1))).sqrt() * torch.cos(2 * math.pi * second)
    odds = torch.log1p(away) - torch.log1p(-away) + (own.log() - other.log()) / alpha
    return odds.sigmoid().float()


def cut_out(values: Tensor, axes: tuple[int, ...], blend: Blend) -> Bool[Tensor, "B ..."]:
    """True in the box that the partner fills, of 1 - own of the whole, anywhere inside; else nowhere."""
    inside = blend.cut.view(-1, *[1] * (values.ndim - 1))
    side = (1 - blend.own) ** (1 / len(axes))
    for number, axis in enumerate(axes):
        size = values.shape[axis]
        width = (side * size).round()
        start = (uniforms(blend.pair, f"cut {number}", 1)[:, 0] * (size - width + 1)).floor()
        place = torch.arange(size, device=values.device)
        within = (place >= start[:, None]) & (place < (start + width)[:, None])
        inside = inside & within.view(-1, *(size if at == axis else 1 for at in range(1, values.ndim)))
    return inside


def _joined(raw: Raw, inside: Tensor, blend: Blend) -> Raw:
    """Both samples' values; outside of its span a clip is silent or black; real is what either has."""
    values = raw.values.to(torch.float32)
    others = values[blend.partner]
    own = torch.where(blend.cut, 1.0, blend.own).view(-1, *[1] * (values.ndim - 1))
    mixed = torch.where(inside, others, own * values + (1 - own) * others)
    spans = raw.spans
    if spans is not None:
        their = spans[blend.partner]
        spans = torch.stack(
            [torch.minimum(spans[:, 0], their[:, 0]), torch.maximum(spans[:, 1], their[:, 1])], 1
        )
    return raw._replace(values=mixed, spans=spans)
