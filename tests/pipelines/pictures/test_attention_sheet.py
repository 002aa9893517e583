"""Which samples and latents stand for all on the sheet, and that it is drawn for any kind of sample."""

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from perceiver.audio import AudioSpec
from perceiver.image import ImageSpec
from perceiver.inputs import Spec
from perceiver.mesh import MeshSpec
from perceiver.model import Perceiver, Sample
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings
from pipelines.models.classifier import Classifier
from pipelines.pictures.attention import concentrated, looks, maps, spread
from pipelines.pictures.attention_sheet import RIGHT, WRONG, Verdict, attention_sheet, drawn, strongest

SETTINGS = ModelSettings(latents=5, width=16, heads=2, blocks=3, layers=1, bands=2)
PIXELS = ImageSpec.of(SETTINGS, height=8, width=8, mean=(0.0,) * 3, std=(50.0,) * 3)
POINTS = MeshSpec.of(SETTINGS, points=16, normals=False)
SOUND = AudioSpec.of(
    SETTINGS, rate=1000, seconds=1.024, channels=1, std=1000.0, form="raw", mels=0, window=0, hop=0
)


def classifier(inputs: Mapping[str, Spec], settings: ModelSettings = SETTINGS) -> Classifier:
    torch.manual_seed(0)
    model = Perceiver(settings, inputs, classes=3)
    return Classifier(model.eval(), ("a", "b", "c"), "float32", torch.device("cpu"))


def sample(seed: int, stored: int = 64) -> Sample:
    generator = np.random.default_rng(seed)
    return {
        "image": generator.integers(0, 255, (8, 8, 3), dtype=np.uint8),
        "mesh": generator.normal(size=(stored, 3)).astype(np.float32),
        "audio": generator.integers(-9000, 9000, (500, 1), dtype=np.int16),
    }


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40), st.integers(1, 8))
def test_a_class_comes_again_when_all_others_had_their_turn(labels: list[int], count: int) -> None:
    rows = spread(np.array(labels), count)

    often = np.bincount(np.array(labels)[rows], minlength=10)
    assert len(set(rows.tolist())) == len(rows) == min(count, len(labels))
    for label in set(labels):
        assert often[label] >= min(often.max() - 1, labels.count(label))


def test_the_classes_are_taken_from_first_to_last_and_of_each_its_first_sample() -> None:
    labels = np.repeat(np.arange(10), 3)

    assert spread(labels, 4).tolist() == [0, 9, 18, 27]
    assert spread(np.array([1, 1, 0, 0, 1]), 4).tolist() == [2, 0, 3, 1]


def test_latents_are_chosen_that_look_at_few_and_different_positions() -> None:
    weights = np.full((16, 16), 1 / 16, np.float32)
    for latent, positions in ((3, [0]), (5, [0, 1]), (9, [7, 8]), (11, [12, 13, 14])):
        weights[latent] = 0
        weights[latent, positions] = 1 / len(positions)

    assert concentrated(weights, 3) == [3, 9, 11]
    assert concentrated(weights[:2], 3) == [0, 1], "there may be fewer than asked"


def test_the_columns_are_the_first_and_the_last_cross_attend_and_single_latents() -> None:
    weights = [{"image": np.random.default_rng(seed).random((5, 64), np.float32)} for seed in range(2)]

    columns = maps(weights, 3, [4])

    assert list(columns) == [
        "first cross-attend,\nall latents",
        "first cross-attend,\nlatent 4",
        "last of 3 cross-attends,\nall latents",
        "last of 3 cross-attends,\nlatent 4",
    ]
    first, alone_first, last, alone_last = (column["image"] for column in columns.values())
    assert first == pytest.approx(weights[0]["image"].mean(0))
    assert last == pytest.approx(weights[1]["image"].mean(0))
    assert (alone_first == weights[0]["image"][4]).all()
    assert (alone_last == weights[1]["image"][4]).all()
    assert list(maps(weights[:1], 1, [])) == ["the only cross-attend,\nall latents"]


def test_on_request_a_classifier_says_what_every_latent_looked_at() -> None:
    asked = classifier({"image": PIXELS, "mesh": POINTS, "audio": SOUND})

    seen, weights = asked.attended(sample(0))

    assert len(weights) == 2, "the first and the last"
    for one in weights:
        assert {name: part.shape for name, part in one.items()} == {
            "image": (5, 64), "mesh": (5, 16), "audio": (5, 8),
        }  # fmt: skip
        assert sum(part.sum(1) for part in one.values()) == pytest.approx(np.ones(5), abs=1e-5)
        assert (one["audio"][:, [0, 1, -1]] == 0).all(), "500 of 1,024 samples are real, in the middle"
    assert (seen["image"].values[0].numpy() == sample(0)["image"]).all()


def test_where_several_views_vote_the_first_of_them_is_shown() -> None:
    voting = replace(SETTINGS, views=2)

    seen, _ = classifier({"mesh": POINTS}, voting).attended(sample(0))

    points = sample(0)["mesh"]
    assert not (seen["mesh"].values[0].numpy() == points[:16]).all()
    assert {tuple(point) for point in seen["mesh"].values[0].tolist()} <= {tuple(p) for p in points.tolist()}


def test_all_samples_show_the_same_latents() -> None:
    found = looks(classifier({"image": PIXELS}), [sample(seed) for seed in range(3)], TrainSettings())

    assert len({tuple(look.maps) for look in found}) == 1
    assert len(found[0].maps) == 6


VERDICTS = [Verdict("a $\\frac$", "b", 0.9, right=False), Verdict("c, d", "c", 0.5, right=True)]


@pytest.mark.parametrize("modalities", [("image",), ("audio", "mesh", "image")])
def test_a_sheet_has_a_row_for_every_modality_of_every_sample_and_nothing_overlaps(
    modalities: tuple[str, ...],
) -> None:
    specs: dict[str, Spec] = {"image": PIXELS, "mesh": POINTS, "audio": SOUND}
    asked = classifier({name: specs[name] for name in modalities})

    figure = drawn("things", looks(asked, [sample(0), sample(1)], TrainSettings()), VERDICTS)

    FigureCanvasAgg(figure).draw()
    whole = figure.bbox
    boxes = [axes.get_window_extent() for axes in figure.axes] + [
        text.get_window_extent() for text in figure.texts
    ]
    assert len(figure.axes) == 1 + 2 * 7 * len(modalities), "the scale, and the input with six maps"
    assert all(whole.x0 <= box.x0 and box.x1 <= whole.x1 for box in boxes)
    assert all(whole.y0 <= box.y0 and box.y1 <= whole.y1 for box in boxes)
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]


def test_captions_say_the_share_of_a_modality_and_its_most_in_even_shares() -> None:
    asked = classifier({"image": PIXELS, "audio": SOUND})
    even = {"image": np.full(64, 0.9 / 64, np.float32), "audio": np.zeros(8, np.float32)}
    even["audio"][4] = 0.1
    look = looks(asked, [sample(0)], TrainSettings())[0]

    figure = drawn("things", [replace(look, maps={"all": even})], VERDICTS[:1])

    said = [text.get_text() for text in figure.texts]
    assert "90% of all, up to 0.956x" in said, "68 positions are real: 0.9 / 64 x 68"
    assert "10% of all, up to 6.8x" in said


def test_a_heading_tells_right_from_wrong_and_takes_no_class_for_a_formula(tmp_path: Path) -> None:
    found = looks(classifier({"image": PIXELS}), [sample(0), sample(1)], TrainSettings())

    texts = {text.get_text(): text.get_color() for text in drawn("things", found, VERDICTS).texts}
    path = attention_sheet(tmp_path / "sheet.png", "things", found, VERDICTS)

    assert texts["true: a $\\frac$    predicted: b (0.90)"] == WRONG
    assert texts["true: c, d    predicted: c (0.50)"] == RIGHT
    assert [one.name for one in tmp_path.iterdir()] == ["sheet.png"]
    with Image.open(path) as picture:
        picture.verify()


def test_the_strongest_colour_is_for_the_most_and_for_no_less_than_twice_the_even_share() -> None:
    assert strongest(np.array([0, 1, 7], np.float32)) == 7
    assert strongest(np.array([0.9, 1.1], np.float32)) == 2
    assert strongest(np.append(np.linspace(0, 5, 50_000, dtype=np.float32), 900)) < 5.01
