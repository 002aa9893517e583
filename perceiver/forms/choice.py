"""Which form reads which part of the byte array: from its geometry and the device, unless the user says.

On a CPU (`benchmarks/model.py` measures it): the separable form on grids, the streamed one for all else; but
the textbook one where there are fewer positions than queries, as folding the projections into the queries
then costs more than it saves. On a GPU: torch's kernels, which the absorbed form feeds; they give nothing to
merge several modalities by, so those are streamed.
"""

from collections.abc import Mapping, Sequence

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


def chosen(wanted: Form, parts: Mapping[str, Geometry], queries: int, device: str) -> dict[str, Form]:
    """The form of each modality, read by so many queries (latents x heads) on a device ("cpu", "cuda").

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
    if sum(part.positions for part in parts.values()) <= queries:
        return dict.fromkeys(parts, "textbook")
    return {modality: "separable" if part.axes > 1 else "streamed" for modality, part in parts.items()}


def prepared(segments: Sequence[Segment], forms: Sequence[Form]) -> Source:
    """The byte array, ready to be read by every cross-attend, each segment in its form.

    The textbook and the absorbed form read all segments as one: they are for all or for none.
    """
    if "textbook" in forms:
        return Textbook(segments)
    if "absorbed" in forms:
        return Folded([Absorbed(segments)])
    return Folded([PARTS[form](normed(segment)) for form, segment in zip(forms, segments, strict=True)])
