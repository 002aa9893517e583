"""The two pictures of a run: how it learnt, and what it confuses."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

Curve = Sequence[tuple[int, float]]
"""(step, value) pairs in the order of steps."""

NAMED_CLASSES = 40
"""Above this many classes their names would overlap, and the counts too."""


def learning_curve(path: Path, title: str, curves: Mapping[str, Curve]) -> Path:
    """Draw `curves` ("train/loss", "val/accuracy", ...) over the steps: losses left, accuracies right."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle(title)
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name in sorted(curves):
            if name.endswith(f"/{kind}") and curves[name]:
                steps, values = zip(*curves[name], strict=True)
                axes.plot(steps, values, marker="." if len(steps) < 50 else "", label=name)
        axes.set(xlabel="optimizer step", ylabel=kind)
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return save(figure, path)


def confusion_matrix(path: Path, title: str, counts: np.ndarray, classes: Sequence[str]) -> Path:
    """Draw `counts` [true class, predicted class], shaded by the share of the true class."""
    side = max(4.0, min(12.0, 2.0 + 0.45 * len(classes)))
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class")
    axes.set(title=title, xlabel="predicted", ylabel="true")
    if len(classes) <= NAMED_CLASSES:
        _name_classes(axes, counts, share, classes)
    return save(figure, path)


def _name_classes(axes: Any, counts: np.ndarray, share: np.ndarray, classes: Sequence[str]) -> None:
    axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(classes)), classes)
    for row, column in zip(*counts.nonzero(), strict=True):
        shade = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, int(counts[row, column]), ha="center", va="center", color=shade, fontsize=8)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as a PNG file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part.png")
    FigureCanvasAgg(figure).print_png(str(aside))
    return aside.replace(path)
