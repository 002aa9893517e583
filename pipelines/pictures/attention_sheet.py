"""The sheet of attention maps: samples down, columns for the input, all latents together and a few alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pipelines.pictures.attention import Look
from pipelines.pictures.charts import save
from pipelines.pictures.heat import HEAT, Floats

PANEL, GAP, MARGIN = 1.75, 0.14, 0.4
"""Inches: width of a panel, space between two, space at the sides."""
TITLE, HEADS, HEADING, CAPTION = 0.85, 0.42, 0.36, 0.26
"""Inches: heights of the title, the columns' heads, a sample's heading and a panel's caption."""
LEAST_TOP = 2.0
"""A panel's colours reach to this many times the even share at least, so that even attention looks even."""
RIGHT, WRONG, UNKNOWN = "#1b6e3c", "#b3261e", "#202020"
"""Colours of a heading."""


@dataclass(frozen=True)
class Verdict:
    """What a sample is, and what the model took it for."""

    true: str
    """Its class, or its classes; of an input that nobody labelled, its name."""
    predicted: str
    """The class of the highest probability."""
    probability: float
    """That one."""
    right: bool | None
    """None where nobody knows."""

    @property
    def heading(self) -> tuple[str, str]:
        """What stands over the sample, and its colour."""
        said = f"predicted: {self.predicted} ({self.probability:.2f})"
        if self.right is None:
            return f"{self.true}    {said}", UNKNOWN
        return f"true: {self.true}    {said}", RIGHT if self.right else WRONG


def attention_sheet(path: Path, title: str, looks: Sequence[Look], verdicts: Sequence[Verdict]) -> Path:
    """Draw looks of one model at some samples, and what it took each for."""
    return save(drawn(title, looks, verdicts), path)


def drawn(title: str, looks: Sequence[Look], verdicts: Sequence[Verdict]) -> Figure:
    """A group of rows per sample, in it a row per modality."""
    heads = ["input", *looks[0].maps]
    width = 2 * MARGIN + len(heads) * (PANEL + GAP) - GAP
    top = TITLE + HEADS
    height = top + sum(_height(look) for look in looks) + MARGIN / 2
    sheet = _Sheet(Figure(figsize=(width, height), dpi=130), width, height)
    sheet.title(title)
    for column, head in enumerate(heads):
        sheet.write(sheet.middle(column), top, head, ha="center", va="bottom")
    for look, verdict in zip(looks, verdicts, strict=True):
        sheet.sample(top, look, verdict)
        top += _height(look)
    return sheet.figure


def strongest(times: Floats) -> float:
    """The weight that gets the strongest colour: one in a thousand may be above it."""
    return max(LEAST_TOP, float(np.quantile(times, 0.999, method="higher")))


def _height(look: Look) -> float:
    return HEADING + sum(PANEL * panel.aspect + CAPTION for panel in look.panels.values())


@dataclass(frozen=True)
class _Sheet:
    """A figure whose places are given in inches from its upper left corner, so that nothing overlaps."""

    figure: Figure
    width: float
    height: float

    def middle(self, column: int) -> float:
        return MARGIN + column * (PANEL + GAP) + PANEL / 2

    def write(self, left: float, top: float, text: str, **look: Any) -> None:
        # A class named $x$ is no formula.
        look = {"fontsize": 8, "parse_math": False, **look}
        self.figure.text(left / self.width, 1 - top / self.height, text, **look)

    def axes(self, middle: float, top: float, height: float) -> Any:
        left, bottom = middle - PANEL / 2, self.height - top - height
        box = left / self.width, bottom / self.height, PANEL / self.width, height / self.height
        axes = self.figure.add_axes(box, xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
        return axes

    def title(self, title: str) -> None:
        unit = "1x is the even share, as if a latent looked at everything alike"
        right = self.width - MARGIN
        self.write(MARGIN, 0.3, title, fontsize=12, va="center")
        self.write(MARGIN, 0.56, unit, color="0.35", va="center")
        scale = self.axes(right - PANEL / 2, 0.5, 0.12)
        scale.imshow(np.linspace(0, 1, 256)[None], cmap=HEAT, aspect="auto")
        self.write(right - PANEL, 0.74, "0", va="center")
        self.write(right, 0.74, f"panel's most (at least {LEAST_TOP:g}x)", ha="right", va="center")

    def sample(self, top: float, look: Look, verdict: Verdict) -> None:
        """The heading, then a row per modality: the input and its maps."""
        said, colour = verdict.heading
        self.write(MARGIN, top + HEADING - 0.12, said, fontsize=10, color=colour)
        top += HEADING
        positions = sum(int(panel.real.sum()) for panel in look.panels.values())
        for modality, panel in look.panels.items():
            height = PANEL * panel.aspect
            if len(look.panels) > 1:
                self.write(MARGIN - 0.08, top + height / 2, modality, rotation=90, ha="right", va="center")
            panel.plain(self.axes(self.middle(0), top, height))
            self._caption(0, top + height, panel.caption)
            for column, weights in enumerate(look.maps.values(), start=1):
                times = weights[modality] * positions
                panel.lit(self.axes(self.middle(column), top, height), times, strongest(times))
                share = f"{weights[modality].sum():.0%} of all, " if len(look.panels) > 1 else ""
                self._caption(column, top + height, f"{share}up to {times.max():.3g}x")
            top += height + CAPTION

    def _caption(self, column: int, top: float, text: str) -> None:
        self.write(self.middle(column), top + 0.05, text, fontsize=7, ha="center", va="top")
