"""Heat over a picture: colours that grow stronger with a weight, and pictures that are seen under them.

Places in a panel go from 0 to 1, to the right and up; a box is (left, right, bottom, top).
"""

from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Box = tuple[float, float, float, float]

WHOLE = (0.0, 1.0, 0.0, 1.0)
CELLS = 100
"""Cells along a side that the eye still finds in a panel."""

HEAT = LinearSegmentedColormap.from_list("heat", ["#d4d4d4", "#ffc23d", "#f4511e", "#8e0038"])
"""From no weight, grey, to the most of a panel."""


def fill(axes: Any, picture: NDArray[Any], box: Box = WHOLE, **look: Any) -> None:
    """Draw a picture into a box of the panel."""
    axes.imshow(picture, extent=box, aspect="auto", **look)
    axes.set(xlim=(0, 1), ylim=(0, 1))


def heat(axes: Any, weights: Floats, top: float, box: Box = WHOLE) -> None:
    """Lay weights [rows, columns] over what is there: the heavier, the less it shines through."""
    weights = coarse(coarse(weights, 0), 1)
    strength = 0.1 + 0.85 * np.clip(weights / top, 0, 1)
    fill(axes, weights, box, cmap=HEAT, vmin=0, vmax=top, alpha=strength)


def coarse(weights: Floats, axis: int) -> Floats:
    """Give neighbours the most among them where there are more than `CELLS`, so that one stays in sight."""
    size = weights.shape[axis]
    step = -(-size // CELLS)
    most = np.maximum.reduceat(weights, np.arange(0, size, step), axis)
    return most.repeat(step, axis).take(np.arange(size), axis)


def hatch(axes: Any, box: Box) -> None:
    """Show a box as masked."""
    left, right, bottom, top = box
    size = (right - left, top - bottom)
    axes.add_patch(Rectangle((left, bottom), *size, facecolor="0.88", edgecolor="0.7", hatch="////", lw=0))


def hatch_times(axes: Any, there: NDArray[np.bool_]) -> None:
    """Show what lies before and after a clip as masked."""
    steps = there.nonzero()[0].tolist() or [len(there)]
    hatch(axes, (0.0, steps[0] / len(there), 0.0, 1.0))
    hatch(axes, (min(1.0, (steps[-1] + 1) / len(there)), 1.0, 0.0, 1.0))


def faded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Without colours and with little contrast, so that heat is seen over it."""
    grey = pixels.mean(-1, keepdims=True)
    return np.repeat(110 + 0.5 * grey, 3, -1).astype(np.uint8)
