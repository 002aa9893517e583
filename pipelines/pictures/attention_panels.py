"""What the model saw of one sample, each modality in its own way: plain, and under its positions' weights.

Shapes: M positions of the modality.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray
from torch import nn

from perceiver.audio import AudioInput, Mel
from perceiver.image import ImageInput
from perceiver.mesh import MeshInput
from perceiver.model import Batch
from perceiver.segment import Raw
from perceiver.train_settings import TrainSettings
from perceiver.video import VideoInput
from perceiver.windows import real
from pipelines.pictures.heat import HEAT, Box, Floats, faded, fill, hatch, hatch_times, heat
from pipelines.pictures.viewpoint import seen_from_the_side

FRAMES = 4
"""Frames shown of a video."""
STRETCHES = 400
"""Stretches of a waveform that are told apart: more than a panel has dots."""


class Panel(Protocol):
    """Draws one modality of one sample."""

    caption: str
    """What is to be known of the input."""
    aspect: float
    """Height of a panel over its width."""
    real: NDArray[np.bool_]
    """[M], which positions are not masked."""

    def plain(self, axes: Any) -> None:
        """Draw what the model saw."""
        ...

    def lit(self, axes: Any, weights: Floats, top: float) -> None:
        """Draw it under `weights` [M]; `top` and above have the strongest colour."""
        ...


class Picture:
    """An image, with the heat of every position over it."""

    def __init__(self, part: ImageInput, raw: Raw, _: TrainSettings) -> None:
        spec = part.spec
        self.pixels = raw.values[0].numpy()
        self.grid = (spec.height // spec.patch, spec.width // spec.patch)
        self.caption = f"{spec.height} x {spec.width} pixels"
        self.aspect = spec.height / spec.width
        self.real = np.ones(part.geometry.positions, np.bool_)

    def plain(self, axes: Any) -> None:
        fill(axes, self.pixels)

    def lit(self, axes: Any, weights: Floats, top: float) -> None:
        fill(axes, faded(self.pixels))
        heat(axes, weights.reshape(self.grid), top)


class Waveform:
    """A recording over time, and the weights as a curve over it."""

    aspect = 0.6

    def __init__(self, part: AudioInput, raw: Raw) -> None:
        spec = part.spec
        wave = raw.values[0].float().mean(1).numpy()
        self.wave = wave / max(1.0, float(np.abs(wave).max()))
        self.caption = f"{spec.samples / spec.rate:.3g} s at {spec.rate:,} Hz"
        self.real = real(raw.spans, spec.samples, spec.step)[0].numpy()

    def plain(self, axes: Any) -> None:
        self._wave(axes, "#305080")

    def lit(self, axes: Any, weights: Floats, top: float) -> None:
        self._wave(axes, "#b8c0cc")
        left, step = np.arange(len(weights)) / len(weights), 1 / len(weights)
        bars = [
            ((at, 0), (at, high), (at + step, high), (at + step, 0))
            for at, high in zip(left, weights / top, strict=True)
        ]
        axes.add_collection(PolyCollection(bars, array=weights, cmap=HEAT, clim=(0, top), alpha=0.85))

    def _wave(self, axes: Any, color: str) -> None:
        stretches = np.array_split(self.wave, min(STRETCHES, len(self.wave)))
        low, high = ([find(one) / 2 + 0.5 for one in stretches] for find in (np.min, np.max))
        middles = (np.arange(len(stretches)) + 0.5) / len(stretches)
        axes.fill_between(middles, low, high, color=color, linewidth=0.6)
        axes.set(xlim=(0, 1), ylim=(0, 1.02))
        hatch_times(axes, self.real)


class Spectrogram:
    """Log-mel levels, time to the right and frequency up, with the heat of every position over them."""

    aspect = 0.6

    def __init__(self, part: AudioInput, raw: Raw, mel: Mel) -> None:
        spec = part.spec
        self.levels = part.spectrogram(raw, mel)[0].mean(2).T.flip(0).numpy()
        self.grid = (spec.samples // spec.step, mel.bins // spec.bins)
        self.caption = f"{spec.samples / spec.rate:.3g} s, {mel.bins} mel bins"
        self.real = real(raw.spans, spec.samples, spec.step)[0].repeat_interleave(self.grid[1]).numpy()

    def plain(self, axes: Any) -> None:
        fill(axes, self.levels, cmap="magma")
        hatch_times(axes, self.real.reshape(self.grid)[:, 0])

    def lit(self, axes: Any, weights: Floats, top: float) -> None:
        low, high = float(self.levels.min()), float(self.levels.max())
        fill(axes, self.levels, cmap="gray", vmin=low - max(high - low, 1.0))
        heat(axes, weights.reshape(self.grid).T[::-1], top)
        hatch_times(axes, self.real.reshape(self.grid)[:, 0])


class Cloud:
    """The points of a mesh, the upright axis up, each in the colour of its weight."""

    aspect = 1.0

    def __init__(self, part: MeshInput, raw: Raw, train: TrainSettings) -> None:
        self.places = seen_from_the_side(raw.values[0, :, :3].float().numpy(), "xyz".index(train.mesh.up))
        self.caption = f"{part.geometry.positions:,} points, {train.mesh.up} is up"
        self.real = np.ones(part.geometry.positions, np.bool_)

    def plain(self, axes: Any) -> None:
        self._scatter(axes, self.places[:, 2], self.places[:, 2].argsort(), cmap="Blues", vmin=-2)

    def lit(self, axes: Any, weights: Floats, top: float) -> None:
        self._scatter(axes, weights, weights.argsort(), cmap=HEAT, vmin=0, vmax=top)

    def _scatter(self, axes: Any, colours: Floats, order: NDArray[np.intp], **look: Any) -> None:
        size = float(np.clip(3000 / len(order), 1.5, 14))
        across, up = self.places[order, 0], self.places[order, 1]
        axes.scatter(across, up, s=size, c=colours[order], linewidths=0, **look)
        axes.set(aspect="equal", xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))


class Film:
    """Frames of a video, left to right and down, with the heat of every position over them.

    Each frame stands for a stretch of the video: the heat over it is the most that a place got within that.
    """

    def __init__(self, part: VideoInput, raw: Raw, _: TrainSettings) -> None:
        spec = part.spec
        self.grid = (spec.frames // spec.block, spec.height // spec.patch, spec.width // spec.patch)
        there = real(raw.spans, spec.frames, spec.block)[0].numpy()
        self.real = there.repeat(self.grid[1] * self.grid[2])
        self.stretches = np.array_split(np.arange(self.grid[0]), min(FRAMES, self.grid[0]))
        begin, end = (0, spec.frames) if raw.spans is None else raw.spans[0].tolist()
        self.there = [bool(there[stretch].any()) for stretch in self.stretches]
        middles = [int(stretch.mean() * spec.block + spec.block / 2) for stretch in self.stretches]
        frames = [min(max(middle, begin), end - 1) for middle in middles]
        self.pixels = raw.values[0, frames].numpy()
        named = [str(frame + 1) for frame, seen in zip(frames, self.there, strict=True) if seen]
        self.caption = f"frames {', '.join(named)} of {spec.frames}"
        shown = len(frames)
        self.boxes = _two_columns(shown)
        self.aspect = -(-shown // 2) * spec.height / (min(2, shown) * spec.width)

    def plain(self, axes: Any) -> None:
        self._frames(axes, self.pixels)

    def lit(self, axes: Any, weights: Floats, top: float) -> None:
        self._frames(axes, faded(self.pixels))
        for stretch, box, there in zip(self.stretches, self.boxes, self.there, strict=True):
            if there:
                heat(axes, weights.reshape(self.grid)[stretch].max(0), top, box)

    def _frames(self, axes: Any, pixels: NDArray[np.uint8]) -> None:
        for frame, box, there in zip(pixels, self.boxes, self.there, strict=True):
            if there:
                fill(axes, frame, box)
            else:
                hatch(axes, box)


def _two_columns(count: int, gap: float = 0.03) -> list[Box]:
    columns, rows = min(2, count), -(-count // 2)
    width, height = (1 + gap) / columns, (1 + gap) / rows
    corners = [(place % columns * width, 1 - place // columns * height) for place in range(count)]
    return [(left, left + width - gap, top - height + gap, top) for left, top in corners]


def _sound(part: AudioInput, raw: Raw, _: TrainSettings) -> Panel:
    mel = part.spec.mel
    return Waveform(part, raw) if mel is None else Spectrogram(part, raw, mel)


_PANELS: Mapping[str, Callable[[Any, Raw, TrainSettings], Panel]] = {
    "image": Picture,
    "audio": _sound,
    "mesh": Cloud,
    "video": Film,
}


def panels(inputs: nn.ModuleDict, seen: Batch, train: TrainSettings) -> dict[str, Panel]:
    """What draws each modality of the one sample in the batch."""
    return {modality: _PANELS[modality](part, seen[modality], train) for modality, part in inputs.items()}
