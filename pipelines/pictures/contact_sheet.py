"""The contact sheet of a data set: some samples of all classes and splits, as they are stored.

Which samples it shows is a function of the shards and their number alone.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cluster.storage import write_whole
from pipelines.pictures.captions import caption, first_labels
from pipelines.pictures.contact_panels import Panel, panel
from preprocessing.reading import Reader
from preprocessing.settings import SPLITS
from preprocessing.shards import Shards

SAMPLES = 24
"""Samples on a sheet unless another number is asked for."""
WIDTH, DOTS = 12.0, 100
"""Inches, and dots per inch: 1,200 pixels across, whatever is on the sheet."""
PANEL, GAP, BETWEEN, MARGIN = 1.35, 0.08, 0.3, 0.3
"""Inches: height of a panel, space between two of a sample, between two samples, and at the sides."""
HEAD, TITLES, CAPTION = 0.75, 0.42, 0.32
"""Inches: heights of the sheet's title, a sample's title, and the line below a panel."""
SMALLEST, LARGEST = 0.8, 1.3
"""How far panels shrink and grow to fill the width; further only where a single sample is wider than it."""
LEAST = 1.6
"""Inches that a sample has for its title at least."""
SPLIT_COLOURS = {"train": "#305080", "val": "#8a5a00", "test": "#7a1f5c"}


@dataclass(frozen=True)
class Tile:
    """One sample."""

    label: str
    split: str
    source: str
    panels: Sequence[Panel]

    @property
    def width(self) -> float:
        """Inches, panels of full height side by side."""
        return sum(PANEL * one.width for one in self.panels) + GAP * (len(self.panels) - 1)


def contact_sheet(path: Path, shards: Shards, samples: int = SAMPLES) -> Path:
    """Draw some samples as a PNG, which is there whole or not at all.

    Raises:
        UserError: the shards are gone or damaged.
    """
    sheet = io.BytesIO()
    FigureCanvasAgg(drawn(shards, tiles(shards, samples))).print_png(sheet)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, sheet.getvalue())
    return path


def tiles(shards: Shards, samples: int) -> list[Tile]:
    """The samples of the sheet, ordered by class and split."""
    readers = {split: Reader(shards, split) for split in SPLITS if shards.counts[split]}
    chosen = choose({split: first_labels(reader.labels) for split, reader in readers.items()}, samples)
    shown = [_tile(shards, readers[split], split, row) for split, row in chosen]
    for reader in readers.values():
        reader.close()
    return shown


def choose(labels: Mapping[str, NDArray[np.int64]], samples: int) -> list[tuple[str, int]]:
    """Split and row of as many samples; none of a class and split twice before all of these were there."""
    cells: dict[int, dict[str, list[int]]] = {}
    for split, of_split in labels.items():
        order = np.argsort(of_split, kind="stable")
        found, begins = np.unique(of_split[order], return_index=True)
        for label, rows in zip(found.tolist(), np.split(order, begins[1:]), strict=True):
            cells.setdefault(label, {})[split] = rows[:samples].tolist()
    queue = [
        (depth, turn, place, label, SPLITS.index(split), row)
        for place, label in enumerate(_spread(sorted(cells), samples))
        for turn, split in enumerate(_turned(list(cells[label]), place))
        for depth, row in enumerate(cells[label][split])
    ]
    chosen = sorted((label, split, row) for _, _, _, label, split, row in sorted(queue)[:samples])
    return [(SPLITS[split], row) for _, split, row in chosen]


def _spread(classes: Sequence[int], most: int) -> Sequence[int]:
    """So many of them, from the first to the last."""
    if len(classes) <= most:
        return classes
    return [classes[at] for at in np.linspace(0, len(classes) - 1, most).round().astype(int)]


def _turned(splits: Sequence[str], by: int) -> Sequence[str]:
    """Each class begins with another split, so that a sheet of few samples shows all splits."""
    by %= len(splits)
    return [*splits[by:], *splits[:by]]


def _tile(shards: Shards, reader: Reader, split: str, row: int) -> Tile:
    (arrays,) = reader.read([row])
    label = caption(reader.labels[row], shards.classes)
    panels = [panel(modality, array, shards.settings) for modality, array in arrays.items()]
    return Tile(label, split, reader.sources[row], panels)


def drawn(shards: Shards, shown: Sequence[Tile]) -> Figure:
    """Tiles in rows, as many side by side as the sheet's width takes."""
    inner = WIDTH - 2 * MARGIN
    widest = max(tile.width for tile in shown)
    columns = max(1, int((inner + BETWEEN) / (max(LEAST, SMALLEST * widest) + BETWEEN)))
    room = (inner + BETWEEN) / columns - BETWEEN
    scale = min(LARGEST, room / widest)
    step = TITLES + PANEL * scale + CAPTION
    rows = -(-len(shown) // columns)
    sheet = _Sheet.of(HEAD + rows * step + MARGIN / 2)
    sheet.title(shards, len(shown))
    for place, tile in enumerate(shown):
        left = MARGIN + place % columns * (room + BETWEEN)
        sheet.tile(tile, left, HEAD + place // columns * step, room, scale)
    return sheet.figure


@dataclass(frozen=True)
class _Sheet:
    """A figure whose places are given in inches from its upper left corner, so that nothing overlaps."""

    figure: Figure
    renderer: Any

    @classmethod
    def of(cls, height: float) -> "_Sheet":
        """An empty one."""
        figure = Figure(figsize=(WIDTH, height), dpi=DOTS)
        return cls(figure, FigureCanvasAgg(figure).get_renderer())

    def write(self, left: float, top: float, text: str, room: float, **look: Any) -> float:
        """Text of at most `room` inches, its end kept where it is longer; the inches it takes."""
        # A class named $x$ is no formula.
        width, height = self.figure.get_size_inches()
        line = self.figure.text(left / width, 1 - top / height, text, va="center", parse_math=False, **look)
        while self._inches(line) > room and len(text) > 1:
            text = text[max(1, len(text) // 20) :]
            line.set_text(f"…{text}")
        return self._inches(line)

    def _inches(self, line: Any) -> float:
        return line.get_window_extent(self.renderer).width / DOTS

    def title(self, shards: Shards, shown: int) -> None:
        held = ", ".join(f"{count:,} {split}" for split, count in shards.counts.items())
        where = f"{shown} of {sum(shards.counts.values()):,} samples ({held})"
        inner = WIDTH - 2 * MARGIN
        self.write(MARGIN, 0.24, f"{where}, version {shards.digest[:12]}", inner, fontsize=12)
        self.write(MARGIN, 0.48, shards.place, inner, fontsize=8, color="0.4")

    def tile(self, tile: Tile, left: float, top: float, room: float, scale: float) -> None:
        colour = SPLIT_COLOURS[tile.split]
        taken = self.write(left, top + 0.1, tile.split, room, fontsize=8, color=colour)
        self.write(left + taken + 0.1, top + 0.1, tile.label, room - taken - 0.1, fontsize=10, weight="bold")
        self.write(left, top + 0.28, tile.source, room, fontsize=7, color="0.4")
        for one in tile.panels:
            width = PANEL * scale * one.width
            one.draw(self._axes(left, top + TITLES, width, PANEL * scale))
            self.write(left, top + TITLES + PANEL * scale + 0.1, one.caption, room, fontsize=7, color="0.25")
            left += width + GAP * scale

    def _axes(self, left: float, top: float, width: float, height: float) -> Any:
        whole, high = self.figure.get_size_inches()
        box = left / whole, 1 - (top + height) / high, width / whole, height / high
        axes: Any = self.figure.add_axes(box, xticks=[], yticks=[])
        axes.spines[:].set_color("0.8")
        return axes
