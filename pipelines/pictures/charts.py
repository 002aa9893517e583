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
    """Draw `curves` ("train/loss", "val/accuracy", ...) over the steps: losses left, others right."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    figure.suptitle(title)
    for axes, kinds in zip(figure.subplots(1, 2), (("loss",), ("accuracy", "mAP")), strict=True):
        for name in sorted(curves):
            if name.partition("/")[2] in kinds and curves[name]:
                steps, values = zip(*curves[name], strict=True)
                axes.plot(steps, values, marker="." if len(steps) < 50 else "", label=name)
        axes.set(xlabel="optimizer step", ylabel=" and ".join(kinds))
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


def average_precisions(path: Path, title: str, classes: Mapping[str, Mapping[str, float]]) -> Path:
    """Draw the average precision of each class that has samples, the best first; names say how many."""
    there = {name: one for name, one in classes.items() if one["samples"]}
    order = sorted(there, key=lambda name: -there[name]["average_precision"])
    figure = Figure(figsize=(8, max(3.0, min(12.0, 1.5 + 0.28 * len(order)))), layout="constrained")
    axes = figure.subplots()
    values = [there[name]["average_precision"] for name in order]
    axes.barh(range(len(order)), values, height=1.0 if len(order) > NAMED_CLASSES else 0.8)
    axes.set(title=title, xlabel="average precision", xlim=(0, 1), ylim=(max(len(order), 1) - 0.5, -0.5))
    if order:
        axes.axvline(float(np.mean(values)), color="0.3", label=f"mAP {np.mean(values):.3f}")
        axes.legend(loc="lower right")
    if len(order) <= NAMED_CLASSES:
        # A class named $x$ is no formula.
        names = [f"{name} ({int(there[name]['samples']):,})" for name in order]
        axes.set_yticks(range(len(order)), names, parse_math=False)
    else:
        axes.set_ylabel("classes, the best first")
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
