"""The contact sheet shows every class and modality, the same each time, and no text lies over another."""

import sys
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.pictures.contact_panels import panel
from pipelines.pictures.contact_sheet import choose, contact_sheet, drawn, tiles
from pipelines.training.specs import labels_of
from preprocessing.shards import INDEX, INDEX_COLUMNS, Shards

sys.path.append(str(Path(__file__).parents[2] / "preprocessing"))
from hand_made import by_hand, manifest_of, parquet, publish


def every_modality(generator: np.random.Generator, label: str) -> dict[str, Any]:
    frames, seconds = int(generator.integers(1, 20)), int(generator.integers(1, 4000))
    return {
        "image": generator.integers(0, 256, (16, 16, 3), np.uint8),
        "audio": generator.integers(-(2**15), 2**15, (seconds, 1), np.int16),
        "mesh": generator.normal(size=(100, 3)).astype(np.float16),
        "video": generator.integers(0, 256, (frames, 8, 8, 3), np.uint8),
    }


def only(modality: str) -> Any:
    return lambda generator, label: {modality: every_modality(generator, label)[modality]}


@pytest.fixture
def shards(tmp_path: Path) -> Shards:
    return by_hand(tmp_path / "shards", only("image"), shards=("train", "train", "val", "test"))


def test_a_sheet_is_a_whole_picture_1200_pixels_wide(tmp_path: Path, shards: Shards) -> None:
    path = contact_sheet(tmp_path / "new" / "sheet.png", shards)

    with Image.open(path) as picture:
        picture.load()
        assert picture.width == 1200
    assert [one.name for one in path.parent.iterdir()] == ["sheet.png"]


def test_the_same_shards_give_the_same_sheet(tmp_path: Path, shards: Shards) -> None:
    first, second = (contact_sheet(tmp_path / name, shards).read_bytes() for name in ("a.png", "b.png"))

    assert first == second


def test_all_labels_of_a_sample_are_on_its_tile(tmp_path: Path) -> None:
    place = tmp_path / "shards"
    by_hand(place, only("image"))
    rows: list[dict[str, Any]] = pq.read_table(place / INDEX).to_pylist()
    rows = [{**row, "label": "cat;owl"} for row in rows]
    manifest = manifest_of(place)
    manifest["generations"][0]["index"] = parquet(place / INDEX, rows, INDEX_COLUMNS)
    publish(place, {**manifest, "several": True})

    shards = Shards.open(str(place))

    assert {tile.label for tile in tiles(shards, 4)} == {"cat, owl"}
    assert labels_of(shards) == "several"


def test_the_pixels_on_the_sheet_are_the_samples_own(shards: Shards) -> None:
    (tile,) = tiles(shards, 1)
    from preprocessing.reading import Reader

    reader = Reader(shards, tile.split)
    (sample,) = reader.read([reader.sources.index(tile.source)])

    shown = drawn(shards, [tile]).axes[0].images[0].get_array()

    assert (np.asarray(shown) == sample["image"]).all()


@pytest.mark.parametrize("modality", ["image", "audio", "mesh", "video", "all of them"])
def test_no_text_lies_over_another_or_leaves_the_sheet(tmp_path: Path, modality: str) -> None:
    make = every_modality if modality == "all of them" else only(modality)
    held = by_hand(tmp_path / ("a long name of a folder " * 8), make, shards=("train", "val"))

    figure = drawn(held, tiles(held, 7))

    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [text.get_window_extent(renderer) for text in figure.texts]
    boxes += [axes.get_window_extent(renderer) for axes in figure.axes]
    width, height = figure.get_size_inches() * figure.dpi
    for box in boxes:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width + 1
        assert box.y1 <= height + 1
    for one, other in combinations(boxes, 2):
        assert not one.overlaps(other)


def test_every_class_and_split_is_shown_before_any_twice() -> None:
    labels = {"train": np.array([0] * 50 + [1] * 50 + [2]), "val": np.array([0, 1]), "test": np.array([1])}

    chosen = choose(labels, 6)

    assert len(set(chosen)) == 6
    assert {(int(labels[split][row]), split) for split, row in chosen} == {
        (0, "train"), (0, "val"), (1, "train"), (1, "val"), (1, "test"), (2, "train"),
    }  # fmt: skip


def test_of_many_classes_some_from_the_first_to_the_last_are_shown() -> None:
    chosen = choose({"train": np.arange(1000)}, 10)

    rows = [row for _, row in chosen]
    assert len(rows) == 10
    assert (rows[0], rows[-1]) == (0, 999)


def test_all_are_shown_where_there_are_few() -> None:
    assert choose({"train": np.array([0, 0]), "test": np.array([3])}, 24) == [
        ("train", 0), ("train", 1), ("test", 0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("modality", "array", "caption"),
    [
        ("image", np.zeros((8, 16, 3), np.uint8), "8 x 16 pixels"),
        ("audio", np.zeros((4000, 2), np.int16), "0.5 s at 8,000 Hz, 2 channels"),
        ("mesh", np.zeros((5000, 6), np.float16), "5,000 points with normals, y up and z up"),
        ("video", np.zeros((12, 8, 8, 3), np.uint8), "12 frames of 8 x 8, 1.5 s"),
    ],
)
def test_a_panel_says_what_it_shows(modality: str, array: Any, caption: str) -> None:
    assert panel(modality, array, {"audio.rate": 8000, "video.rate": 8.0}).caption == caption
