"""Byte arrays and cross-attends that nobody chose, and the formula that all forms must give.

Shapes: B samples, N latents, M positions, C channels of a row.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from hypothesis import strategies as st
from torch import Tensor

from perceiver.attention import CrossAttend
from perceiver.forms import separable, streamed
from perceiver.forms.choice import prepared
from perceiver.segment import Segment
from perceiver.settings import Form

FORMS: tuple[Form, ...] = ("textbook", "absorbed", "streamed", "separable")
Grads = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Latents that read a byte array, and how finely it is cut."""

    cross: CrossAttend
    latents: Tensor
    segments: list[Segment]
    streamed_budget: int = 1 << 19
    separable_budget: tuple[int, int] = (1 << 18, 512)

    def to(self, dtype: torch.dtype) -> "Reading":
        """The same in another precision, sharing nothing."""
        cross = CrossAttend(
            width=self.latents.shape[2],
            channels=len(self.cross.byte_norm.weight),
            inner=self.cross.attention.key.out_features,
            heads=self.cross.attention.heads,
        )
        cross.load_state_dict(self.cross.state_dict())
        segments = [cast(segment, dtype) for segment in self.segments]
        return replace(self, cross=cross.to(dtype), latents=leaf(self.latents, dtype), segments=segments)

    def with_segments(self, segments: Sequence[Segment]) -> "Reading":
        """The same latents before other bytes."""
        return replace(self, segments=list(segments))


def leaf(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """The same numbers, of which gradients are wanted."""
    return tensor.detach().clone().to(dtype).requires_grad_()


def cast(segment: Segment, dtype: torch.dtype) -> Segment:
    """The same segment in another precision, its encoding a parameter of its own."""
    encoding = None if segment.encoding is None else leaf(segment.encoding, dtype)
    axes = tuple(table.to(dtype) for table in segment.axes)
    return segment._replace(values=segment.values.to(dtype), axes=axes, encoding=encoding)


def grid(
    *,
    sizes: Sequence[int],
    values: int,
    features: int = 3,
    encoding: int = 0,
    batch: int = 2,
    masked: bool = False,
) -> Segment:
    """Random bytes on a grid, a third of them masked if at all; of no axes: a set of positions."""
    size = torch.Size(sizes).numel() if sizes else 7
    return Segment(
        torch.randn(batch, size, values),
        tuple(torch.randn(length, features) for length in sizes),
        torch.randn(encoding) if encoding else None,
        torch.rand(batch, size) > 0.3 if masked else None,
    )


def reading(
    segments: Sequence[Segment],
    *,
    latents: int = 5,
    heads: int = 1,
    inner: int = 6,
    width: int = 6,
    sharpness: float = 1.0,
    **budgets: Any,
) -> Reading:
    """Latents that read these segments with random weights, norms and biases included."""
    cross = CrossAttend(width=width, channels=rows_of(segments[0], 0).shape[1], inner=inner, heads=heads)
    with torch.no_grad():
        for parameter in cross.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        cross.attention.query.weight.mul_(sharpness)
        cross.attention.query.bias.mul_(sharpness)
    asked = torch.randn(len(segments[0].values), latents, width)
    plain = Reading(cross=cross, latents=asked, segments=list(segments), **budgets)
    return plain.to(torch.float64)


def forms_for(segments: Sequence[Segment], form: Form) -> list[Form]:
    """The form of each segment; what has no grid is streamed beside what is separable."""
    return ["streamed" if form == "separable" and len(segment.axes) < 2 else form for segment in segments]


def read(case: Reading, form: Form) -> Tensor:
    """The latents after the cross-attend, in that form."""
    return case.cross(case.latents, prepared(case.segments, forms_for(case.segments, form)))


def differentiated(answer: Tensor, case: Reading) -> Grads:
    """Gradients of a random functional of the answer, of everything that learns."""
    learned = dict(case.cross.named_parameters())
    learned["latents"] = case.latents
    for number, segment in enumerate(case.segments):
        if segment.encoding is not None:
            learned[f"encoding {number}"] = segment.encoding
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(7)).to(answer.dtype)
    found = torch.autograd.grad((answer * weights).sum(), list(learned.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if grad is None else grad
        for (name, parameter), grad in zip(learned.items(), found, strict=True)
    }


@contextlib.contextmanager
def cut(scores: int, block: tuple[int, int]) -> Iterator[None]:
    """Chunks of so many scores (streamed), blocks of so many scores and queries (separable)."""
    with patch.dict(streamed.SCORES, {"cpu": scores}), patch.dict(separable.SCORES, {"cpu": block}):
        yield


def evaluated(case: Reading, form: Form) -> tuple[Tensor, Grads]:
    """Answer and gradients in one form."""
    with cut(case.streamed_budget, case.separable_budget):
        answer = read(case, form)
        return answer, differentiated(answer, case)


def rows_of(segment: Segment, sample: int) -> Tensor:
    """[values | features of each axis | encoding] of every position of one sample, written out."""
    parts = [segment.values[sample]]
    if segment.axes:
        places = torch.cartesian_prod(*(torch.arange(len(table)) for table in segment.axes))
        places = places.reshape(len(parts[0]), len(segment.axes))
        parts += [table[place] for table, place in zip(segment.axes, places.unbind(1), strict=True)]
    if segment.encoding is not None:
        parts.append(segment.encoding.repeat(len(parts[0]), 1))
    return torch.cat(parts, 1)


def real_rows(segments: Sequence[Segment], sample: int) -> Tensor:
    """The rows that count; of a sample that has none, one row of zeros."""
    kept = [
        rows_of(each, sample) if each.mask is None else rows_of(each, sample)[each.mask[sample]]
        for each in segments
    ]
    rows = torch.cat(kept)
    return rows if len(rows) else rows.new_zeros(1, rows.shape[1])


def attention_formula(cross: CrossAttend, latents: Tensor, rows: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(E)) v and what follows, of one sample, LayerNorm written out."""
    attention, norm, heads = cross.attention, cross.byte_norm, []
    centred = rows - rows.mean(1, keepdim=True)
    normed = centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
    width = attention.key.out_features // attention.heads
    q, k, v = attention.query(cross.latent_norm(latents)), attention.key(normed), attention.value(normed)
    for begin in range(0, attention.key.out_features, width):
        h = slice(begin, begin + width)
        scores = q[:, h] @ k[:, h].T / width**0.5
        weights = (scores - scores.amax(1, keepdim=True)).exp()
        heads.append(weights / weights.sum(1, keepdim=True) @ v[:, h])
    after = latents + attention.out(torch.cat(heads, 1))
    return after + cross.mlp(after)


def formula(case: Reading) -> tuple[Tensor, Grads]:
    """Answer and gradients of the formula, sample by sample."""
    answer = torch.stack(
        [
            attention_formula(case.cross, latents, real_rows(case.segments, sample))
            for sample, latents in enumerate(case.latents)
        ]
    )
    return answer, differentiated(answer, case)


def assert_equal(
    found: tuple[Tensor, Grads], wanted: tuple[Tensor, Grads], *, answers: float, grads: float
) -> None:
    """Answers to a tolerance; gradients to one relative to the largest of each parameter.

    One that is all but zero is held against a hundredth of the largest of all, and the key bias, which has
    none, against that largest.
    """
    torch.testing.assert_close(found[0].to(wanted[0].dtype), wanted[0], rtol=answers, atol=answers)
    most = max(grad.abs().max().item() for grad in wanted[1].values())
    assert found[1].keys() == wanted[1].keys()
    for name, grad in wanted[1].items():
        error = (found[1][name].to(grad.dtype) - grad).abs().max().item()
        share = 1.0 if name == "attention.key.bias" else 0.01
        allowed = grads * max(grad.abs().max().item(), share * most)
        assert error <= allowed, f"gradient of {name}: off by {error}, allowed {allowed}"


@st.composite
def readings(draw: st.DrawFn, form: Form) -> Reading:
    """Any geometry: sets, lines, pictures and clips, masked or not, several together, cut anywhere."""
    torch.manual_seed(draw(st.integers(0, 2**32 - 1)))
    batch, several = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    plain = [
        draw(_segments(batch, least_axes=2 if form == "separable" and not number else 0))
        for number in range(several)
    ]
    counts = [rows_of(segment, 0).shape[1] for segment in plain]
    channels = max(4, *counts) + draw(st.integers(0, 3))
    segments = [
        segment._replace(encoding=torch.randn(channels - count) if channels > count else None)
        for segment, count in zip(plain, counts, strict=True)
    ]
    heads, latents = draw(st.integers(1, 3)), draw(st.integers(1, 12))
    return reading(
        segments,
        latents=latents,
        heads=heads,
        inner=heads * draw(st.integers(1, 4)),
        sharpness=draw(st.sampled_from([0.3, 1.0, 30.0])),
        streamed_budget=draw(st.sampled_from([heads * latents * 7, 500, 1 << 19])),
        separable_budget=draw(st.sampled_from([(60, 4), (500, 5), (1 << 18, 256)])),
    )


@st.composite
def _segments(draw: st.DrawFn, batch: int, least_axes: int) -> Segment:
    sizes = draw(st.lists(st.integers(1, 9), min_size=least_axes, max_size=3))
    segment = grid(sizes=sizes, values=draw(st.integers(1, 4)), features=draw(st.integers(1, 3)), batch=batch)
    count = segment.values.shape[1] if sizes else draw(st.integers(1, 20))
    values, mask = torch.randn(batch, count, segment.values.shape[2]), torch.rand(batch, count)
    share = draw(st.sampled_from([None, 0.3, 0.9, 1.0]))
    return segment._replace(values=values, mask=None if share is None else mask >= share)
