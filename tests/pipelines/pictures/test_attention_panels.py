"""A known weight lights the place that it belongs to, in every modality, the right way up."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from perceiver.audio import AudioInput, AudioSpec
from perceiver.image import ImageInput, ImageSpec
from perceiver.mesh import MeshInput, MeshSpec
from perceiver.segment import Input
from perceiver.settings import AudioTokens, ImageTokens, ModelSettings, VideoTokens
from perceiver.train_settings import TrainSettings
from perceiver.video import VideoInput, VideoSpec
from pipelines.pictures.attention_panels import Panel, panels
from pipelines.pictures.heat import HEAT
from pipelines.pictures.viewpoint import seen_from_the_side

STATISTICS: Any = {"mean": (0.0,) * 3, "std": (50.0,) * 3}
DOTS = 200


def panel(modality: str, part: Input, stored: np.ndarray) -> Panel:
    seen = {modality: part.collate([stored], None)}
    return panels(torch.nn.ModuleDict({modality: part}), seen, TrainSettings())[modality]


def drawn(shown: Panel, lit: int | None) -> tuple[Any, np.ndarray]:
    """The axes and what is seen in them, [DOTS, DOTS, 3], with all the weight on one position."""
    figure = Figure(figsize=(2, 2), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if lit is None:
        shown.plain(axes)
    else:
        weights = np.zeros(len(shown.real), np.float32)
        weights[lit] = 5
        shown.lit(axes, weights, top=5)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return axes, np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def hot(pixels: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of what has the colour of the most weight, as shares of the panel."""
    red = np.array(to_rgba(HEAT(1.0))[:3]) * 255
    near = np.abs(pixels - red).max(-1) < 45
    rows, columns = near.any(1).nonzero()[0], near.any(0).nonzero()[0]
    return columns[0] / DOTS, (columns[-1] + 1) / DOTS, 1 - (rows[-1] + 1) / DOTS, 1 - rows[0] / DOTS


def test_a_weight_on_one_patch_of_an_image_lights_this_patch() -> None:
    settings = ModelSettings(image=ImageTokens(patch=2))
    part = ImageInput(ImageSpec.of(settings, height=8, width=16, **STATISTICS))
    stored = np.random.default_rng(0).integers(0, 255, (8, 16, 3), dtype=np.uint8)
    shown = panel("image", part, stored)

    axes, pixels = drawn(shown, lit=1 * 8 + 5)  # second row from above, sixth column

    assert hot(pixels) == pytest.approx((5 / 8, 6 / 8, 2 / 4, 3 / 4), abs=0.01)
    assert (axes.images[-1].get_array().nonzero() == np.array([[1], [5]])).all()
    assert (drawn(shown, None)[0].images[0].get_array() == stored).all(), "as stored, the first row above"
    assert shown.aspect == 0.5


def test_one_pixel_of_fifty_thousand_is_still_seen_in_its_place() -> None:
    part = ImageInput(ImageSpec.of(ModelSettings(), height=224, width=224, **STATISTICS))
    shown = panel("image", part, np.full((224, 224, 3), 200, np.uint8))

    _, pixels = drawn(shown, lit=223 * 224 + 111)

    assert hot(pixels) == pytest.approx((111 / 224, 114 / 224, 0, 2 / 224), abs=0.006)


def test_a_weight_on_one_moment_of_a_waveform_stands_over_it_and_silence_around_is_hatched() -> None:
    settings = ModelSettings(audio=AudioTokens(patch=100))
    spec = AudioSpec.of(
        settings, rate=1000, seconds=1.0, channels=1, std=1.0, form="raw", mels=0, window=0, hop=0
    )
    stored = np.random.default_rng(0).integers(-5, 5, (600, 1), dtype=np.int16)
    shown = panel("audio", AudioInput(spec), stored)

    axes, pixels = drawn(shown, lit=3)

    assert shown.real.tolist() == [False] * 2 + [True] * 6 + [False] * 2
    assert hot(pixels) == pytest.approx((0.3, 0.4, 0.0, 1 / 1.02), abs=0.01)
    assert [(box.get_x(), box.get_width()) for box in axes.patches] == [
        pytest.approx(place) for place in ((0, 0.2), (0.8, 0.2))
    ]


def test_a_weight_on_one_tile_of_a_spectrogram_lights_its_time_and_frequency() -> None:
    settings = ModelSettings(audio=AudioTokens(frames=5, bins=10))
    spec = AudioSpec.of(
        settings, rate=8000, seconds=0.4, channels=1, std=1.0, form="mel", mels=40, window=256, hop=80
    )
    time = np.arange(3200) / 8000
    stored = (9000 * np.sin(2 * np.pi * 300 * time))[:, None].astype(np.int16)
    shown = panel("audio", AudioInput(spec), stored)

    _, pixels = drawn(shown, lit=2 * 4 + 3)  # third of eight moments, highest of four bands

    assert hot(pixels) == pytest.approx((2 / 8, 3 / 8, 3 / 4, 1), abs=0.01)
    levels = drawn(shown, None)[0].images[0].get_array()
    assert levels.mean(1).argmax() > 20, "a low tone lies below"
    assert shown.real.all()


def test_a_weight_on_one_point_colours_this_point_and_up_is_up() -> None:
    cloud = np.random.default_rng(0).uniform(-0.5, 0.5, (32, 3)).astype(np.float32)
    cloud[7] = 0, 0.9, 0
    part = MeshInput(MeshSpec.of(ModelSettings(), points=32, normals=False))
    shown = panel("mesh", part, cloud)

    axes, pixels = drawn(shown, lit=7)

    (points,) = axes.collections
    assert points.get_offsets()[:, 1].argmax() == points.get_array().argmax() == 31, "drawn last, over others"
    assert hot(pixels)[2] > 0.75


@pytest.mark.parametrize("up", [0, 1, 2])
def test_a_shape_is_turned_to_the_eye_and_not_mirrored(up: int) -> None:
    corners = np.roll(np.eye(3, dtype=np.float32), up + 1, axis=1)  # the axes, the upright one last
    whole = np.concatenate([corners, -corners])

    placed = seen_from_the_side(whole, up)

    first, second, upright = placed[:3]
    assert upright[1] > max(first[1], second[1])
    assert abs(upright[0]) < 1e-6
    assert np.linalg.det(placed[:3]) > 0
    assert first[2] > 0 < second[2] > -1


def test_a_weight_in_a_video_lights_its_place_in_the_frame_that_stands_for_its_time() -> None:
    settings = ModelSettings(video=VideoTokens(frames=2, patch=4))
    part = VideoInput(VideoSpec.of(settings, frames=16, height=8, width=8, **STATISTICS))
    stored = np.full((14, 8, 8, 3), 100, np.uint8) + np.arange(14, dtype=np.uint8)[:, None, None, None]
    shown = panel("video", part, stored)  # frames 1 to 14 of 0 to 15 are real

    for block in (4, 5):  # of eight: both are in the third quarter, which lies below on the left
        _, pixels = drawn(shown, lit=block * 4 + 1 * 2 + 0)  # second row, first column
        assert hot(pixels) == pytest.approx((0, 0.245, 0, 0.245), abs=0.01)

    assert shown.real.all()
    assert shown.caption == "frames 3, 7, 11, 15 of 16"
    shades = [int(image.get_array()[0, 0, 0]) for image in drawn(shown, None)[0].images]
    assert shades == [101, 105, 109, 113]


def test_frames_around_a_short_video_are_hatched() -> None:
    settings = ModelSettings(video=VideoTokens(frames=2, patch=4))
    part = VideoInput(VideoSpec.of(settings, frames=8, height=8, width=8, **STATISTICS))
    shown = panel("video", part, np.full((4, 8, 8, 3), 100, np.uint8))

    axes, _ = drawn(shown, lit=4)

    assert shown.real.reshape(4, 4).any(1).tolist() == [False, True, True, False]
    assert len(axes.patches) == 2
    assert shown.caption == "frames 4, 6 of 8"
