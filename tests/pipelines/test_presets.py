"""The run files of the paper's models build the paper's models."""

from pathlib import Path

import pytest
import torch

from perceiver.flops import flops
from perceiver.model import Perceiver
from pipelines.settings import read
from pipelines.training.specs import specs

RUNS = Path(__file__).parents[2] / "pipelines" / "runs"

# run file: classes, positions, channels of a position, parameters (ImageNet's are the paper's, Table 7)
PAPER = {
    "imagenet": (1000, 224 * 224, 3 + 2 * 129, 44_912_254),
    "audioset": (527, 480 + 16 * 28 * 28, (384 + 3 * 65) + 4, 109_853_667),
    "modelnet40": (40, 2048, 3 * 129, 44_772_202),
}


def built(name: str, *options: str) -> Perceiver:
    settings = read(str(RUNS / f"{name}.toml"), options)
    with torch.device("meta"):
        return Perceiver(settings.model, specs(settings, {}), PAPER[name][0])


def parameters(name: str, crosses: int, transformers: int, layers: int, encodings: int = 0) -> int:
    """Weights and biases counted by hand from Sec. 3.2, D = 1,024 and N = 512."""
    classes, _, c, _ = PAPER[name]
    n, d = 512, 1024
    mlp = 2 * d + 2 * (d * d + d)
    cross = 2 * d + 2 * c + (d * c + c) + 2 * (c * c + c) + (c * d + d) + mlp
    layer = 2 * d + 4 * (d * d + d) + mlp
    return n * d + crosses * cross + transformers * layers * layer + d * classes + classes + encodings


@pytest.mark.parametrize("name", PAPER)
def test_a_run_file_of_the_paper_builds_a_model_of_that_size(name: str) -> None:
    _, positions, channels, count = PAPER[name]

    model = built(name)

    assert (model.positions, model.channels) == (positions, channels)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


def test_the_sizes_are_those_of_the_layout_in_the_paper() -> None:
    assert PAPER["imagenet"][3] == parameters("imagenet", 2, 1, 6)
    assert PAPER["modelnet40"][3] == parameters("modelnet40", 2, 1, 6)
    video, audio = 583 - 579, 583 - (128 + 385)
    assert PAPER["audioset"][3] == parameters("audioset", 2, 2, 8, encodings=video + audio)


def test_the_imagenet_run_file_costs_what_table_7_says() -> None:
    model = built("imagenet")

    assert flops(model.settings, model.positions, model.channels) / 1e9 == pytest.approx(707.2, abs=0.05)


def test_imagenet_is_trained_as_in_the_paper() -> None:
    train = read(str(RUNS / "imagenet.toml"), []).train

    assert (train.optimizer, train.rate, train.schedule, train.epochs) == ("lamb", 0.004, "step", 120)
    assert [round(120 * share) for share in train.milestones] == [84, 102, 114]
    assert (train.image.area, train.image.operations, train.image.magnitude) == (0.08, 2, 9.0)


def test_audioset_has_several_labels_from_a_table_and_16_clips_that_vote() -> None:
    settings = read(str(RUNS / "audioset.toml"), [])

    assert settings.data.labels.endswith(".csv")
    assert settings.model.views == 16
    assert settings.train.video.area < 1


def test_the_video_of_three_in_ten_audioset_samples_is_dropped() -> None:
    train = read(str(RUNS / "audioset.toml"), []).train

    assert (train.video.drop, train.audio.drop) == (0.3, 0.0)


@pytest.mark.parametrize("name", ["imagenet", "modelnet40"])
def test_a_preset_for_flash_attention_has_heads_that_it_takes(name: str) -> None:
    options = ("--model.preset", f"{name}-flash")

    model = built(name, *options)

    assert 248 < model.channels <= 256 < built(name).channels
    assert model.forms("cuda") == dict.fromkeys(model.specs, "absorbed")
    assert read(str(RUNS / f"{name}.toml"), options).train.precision == "bfloat16"
