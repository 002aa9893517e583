"""Which form reads which part of the byte array: from its geometry and the device, unless the user says.

On a CPU the cheaper one of two. In multiplications a sample, for N latents, M positions, C channels, inner
width W (H heads together):

    textbook   M C W + N M W         keys and values of all positions, then attention on W channels
    folded     N C W + H N M K       queries folded and unfolded, then attention on K channels a head

with K = C where the array is streamed, and on a grid, read axis by axis, the channels of the values and what
the passes over its N x M scores cost besides (`benchmarks/model.py`). On a GPU torch's kernels, which the
absorbed form feeds; several modalities would have to be joined for those, so they are streamed. Neither is
measured.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from perceiver.forms.absorbed import Absorbed
from perceiver.forms.folding import Folded
from perceiver.forms.normed import normed
from perceiver.forms.separable import Separable
from perceiver.forms.source import Source
from perceiver.forms.streamed import Streamed
from perceiver.forms.textbook import Textbook
from perceiver.segment import Geometry, Segment
from perceiver.settings import Form

PARTS = {"separable": Separable, "streamed": Streamed}
"""Forms that read each segment by itself."""


PASSES = 32
"""Channels whose products take as long as the separable form's additional passes over the scores."""


class Reader(NamedTuple):
    """Who reads the byte array."""

    latents: int
    """N."""
    heads: int
    """H, of the cross-attention."""
    width: int
    """W, of queries, keys and values of all heads together."""
    channels: int
    """C, of the joined byte array."""


def chosen(wanted: Form, parts: Mapping[str, Geometry], reader: Reader, device: str) -> dict[str, Form]:
    """The form of each modality on a device of this kind ("cpu", "cuda").

    Raises:
        ValueError: a modality has no grid, and the separable form is wanted.
    """
    for modality, part in parts.items():
        if wanted == "separable" and part.axes < 2:
            raise ValueError(
                f"model.attention = separable needs a grid of two or more axes, {modality} has "
                f"{part.axes or 'none'}: choose auto or streamed"
            )
    if wanted != "auto":
        return dict.fromkeys(parts, wanted)
    if device != "cpu":
        return dict.fromkeys(parts, "absorbed" if len(parts) == 1 else "streamed")
    if _textbook_pays(list(parts.values()), reader):
        return dict.fromkeys(parts, "textbook")
    return {modality: "separable" if part.axes > 1 else "streamed" for modality, part in parts.items()}


def _textbook_pays(parts: Sequence[Geometry], reader: Reader) -> bool:
    n, h, w, c = reader
    m = sum(part.positions for part in parts)
    folded = n * c * w
    for part in parts:
        read = part.values + PASSES if part.axes > 1 else c
        folded += h * n * part.positions * read
    return m <= n or m * c * w + n * m * w <= folded


def prepared(segments: Sequence[Segment], forms: Sequence[Form]) -> Source:
    """The byte array, ready to be read by every cross-attend, each segment in its form.

    The textbook and the absorbed form read all segments as one: they are for all or for none.
    """
    if "textbook" in forms:
        return Textbook(segments)
    if "absorbed" in forms:
        return Folded([Absorbed(segments)])
    return Folded([PARTS[form](normed(segment)) for form, segment in zip(forms, segments, strict=True)])
