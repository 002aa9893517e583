"""How a stored array looks on a contact sheet: pixels, a curve over time, points in space, frames in a strip.

Shapes: H, W pixels; T samples of a channel; P points; F frames.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.pictures.viewpoint import seen_from_the_side

Array = NDArray[Any]

FRAMES = 5
"""Frames shown of a clip, evenly spread over it."""
STRETCHES = 500
"""Stretches of a waveform that are told apart: more than a panel has dots."""
POINTS = 3000
"""Points drawn of a cloud; they are stored in random order, so that the first are like all."""
GUTTER = 0.012
"""Space between two frames, in parts of the strip."""


@dataclass(frozen=True)
class Panel:
    """One modality of one sample."""

    width: float
    """Its width over its height."""
    caption: str
    """What is to be known of the array."""
    draw: Callable[[Any], None]
    """Draws it into axes."""


def panel(modality: str, array: Array, settings: Mapping[str, Any]) -> Panel:
    """What draws an array; `settings` are those that the shards were made with."""
    return _PANELS[modality](array, settings)


def _image(pixels: Array, _: Mapping[str, Any]) -> Panel:
    height, width = pixels.shape[:2]
    return Panel(width / height, f"{height} x {width} pixels", lambda axes: _fill(axes, pixels))


def _audio(wave: Array, settings: Mapping[str, Any]) -> Panel:
    rate = settings["audio.rate"]
    channels = f", {wave.shape[1]} channels" if wave.shape[1] > 1 else ""
    caption = f"{len(wave) / rate:.3g} s at {rate:,} Hz{channels}"

    def draw(axes: Any) -> None:
        mean = wave.astype(np.float32).mean(1) / 2**15
        stretches = np.array_split(mean, min(STRETCHES, len(mean)))
        low, high = ([float(find(one)) for one in stretches] for find in (np.min, np.max))
        seconds = (np.arange(len(stretches)) + 0.5) * len(wave) / rate / len(stretches)
        axes.axhline(0, color="0.8", linewidth=0.5)
        axes.fill_between(seconds, low, high, color="#305080", linewidth=0.7)
        # A quiet recording is drawn larger, so that it is no line; the scale is of no matter here.
        loudest = max(1e-3, *np.abs([low, high]).ravel())
        axes.set(xlim=(0, len(wave) / rate), ylim=(-1.05 * loudest, 1.05 * loudest))

    return Panel(2.4, caption, draw)


def _mesh(points: Array, _: Mapping[str, Any]) -> Panel:
    normals = " with normals" if points.shape[1] == 6 else ""

    def draw(axes: Any) -> None:
        shown = points[:POINTS, :3].astype(np.float32)
        for column, up in enumerate((1, 2)):
            placed = seen_from_the_side(shown, up)
            placed = placed[placed[:, 2].argsort()]
            size = float(np.clip(2500 / len(placed), 0.8, 9))
            look: dict[str, Any] = {"c": placed[:, 2], "cmap": "Blues", "vmin": -1.6, "linewidths": 0}
            axes.scatter(placed[:, 0] + 2.2 * column, placed[:, 1], s=size, **look)
        axes.set(xlim=(-1.1, 3.3), ylim=(-1.1, 1.1))

    return Panel(2.0, f"{len(points):,} points{normals}, y up and z up", draw)


def _video(frames: Array, settings: Mapping[str, Any]) -> Panel:
    count, height, width = frames.shape[:3]
    shown = np.unique(np.linspace(0, count - 1, min(FRAMES, count)).round().astype(int))
    caption = f"{count} frames of {height} x {width}, {count / settings['video.rate']:.3g} s"

    def draw(axes: Any) -> None:
        for column, frame in enumerate(frames[shown]):
            _fill(axes, frame, column, len(shown))

    return Panel(len(shown) * width / height, caption, draw)


_PANELS: Mapping[str, Callable[[Array, Mapping[str, Any]], Panel]] = {
    "image": _image,
    "audio": _audio,
    "mesh": _mesh,
    "video": _video,
}


def _fill(axes: Any, pixels: Array, column: int = 0, columns: int = 1) -> None:
    """Pixels into one of the columns of the axes."""
    left = column / columns + (GUTTER / 2 if column else 0)
    right = (column + 1) / columns - (GUTTER / 2 if column + 1 < columns else 0)
    axes.imshow(pixels, extent=(left, right, 0, 1), aspect="auto")
    axes.set(xlim=(0, 1), ylim=(0, 1))
