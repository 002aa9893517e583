"""Settings: quick to import, refusing with the numbers and the cure."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest

from perceiver.presets import PRESETS
from perceiver.settings import AudioTokens, ImageTokens, MeshTokens, ModelSettings, VideoTokens
from perceiver.train_settings import AudioAugmentation, MeshAugmentation, PixelAugmentation, TrainSettings

REFUSED: list[tuple[Callable[..., object], dict[str, Any], str]] = [
    (
        ModelSettings,
        {"width": 100, "heads": 8},
        r"heads \(8\) does not divide model.width \(100\): a width of 104",
    ),
    (ModelSettings, {"latents": 0}, r"model.latents \(0\) is too small"),
    (ModelSettings, {"widening": 0}, r"model.widening \(0\) is too small"),
    (ModelSettings, {"cross_width": 10, "cross_heads": 4}, r"cross-heads \(4\) does not divide .* \(10\)"),
    (ModelSettings, {"max_frequency": 1.0}, r"max-frequency \(1.0\) must be 0"),
    (ImageTokens, {"patch": 0}, r"model.image.patch \(0\)"),
    (AudioTokens, {"bins": 0}, r"model.audio.bins \(0\)"),
    (MeshTokens, {"max_frequency": 0.0}, "points have no resolution"),
    (VideoTokens, {"frames": 0}, r"model.video.frames \(0\)"),
    (PixelAugmentation, {"flip": 1.5}, r"flip \(1.5\) is a share"),
    (PixelAugmentation, {"area": 0.0}, "must keep something"),
    (PixelAugmentation, {"shift": -1}, r"shift \(-1\)"),
    (PixelAugmentation, {"operations": -1}, r"operations \(-1\)"),
    (PixelAugmentation, {"magnitude": 11.0}, r"magnitude \(11.0\) is not between 0 and 10"),
    (AudioAugmentation, {"time_masks": -1}, r"train.audio.time-masks \(-1\)"),
    (AudioAugmentation, {"time_share": 2.0}, r"time-share \(2.0\)"),
    (MeshAugmentation, {"turn": 200.0}, "between 0 and 180"),
    (MeshAugmentation, {"jitter": -0.1}, r"jitter \(-0.1\)"),
    (TrainSettings, {"warmup": 1.5}, "1.5 times the run, longer than the run"),
    (TrainSettings, {"epochs": 0.0}, "a run of no length"),
    (TrainSettings, {"batch": 0}, r"train.batch \(0\)"),
    (TrainSettings, {"rate": 0.0}, r"train.rate \(0.0\)"),
    (TrainSettings, {"ema": 1.0}, r"train.ema \(1.0\) must be below 1"),
    (TrainSettings, {"save_every": -1}, r"train.save-every \(-1\)"),
    (TrainSettings, {"weight_decay": -1.0}, r"train.weight-decay \(-1.0\) is negative"),
    (TrainSettings, {"mixup": -0.1}, r"train.mixup \(-0.1\) is negative"),
    (TrainSettings, {"cutmix": -1.0}, r"train.cutmix \(-1.0\) is negative"),
    (TrainSettings, {"milestones": (0.9, 0.2)}, "rising numbers between 0 and 1"),
]


@pytest.mark.parametrize(("settings", "values", "complaint"), REFUSED)
def test_a_value_that_cannot_work_is_refused_with_its_number(
    settings: Callable[..., object], values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        settings(**values)


def test_importing_the_settings_does_not_import_torch() -> None:
    root = Path(__file__).parents[2]

    done = subprocess.run(
        [sys.executable, "-c", "import perceiver.settings, sys; sys.exit('torch' in sys.modules)"],
        cwd=root, check=False,
    )  # fmt: skip

    assert done.returncode == 0


def test_a_run_is_as_long_as_its_epochs_or_its_steps() -> None:
    assert TrainSettings(epochs=3.0, batch=64).total(100) == 5  # 300 samples: the last batch goes on
    assert TrainSettings(epochs=2.0, batch=50).total(100) == 4
    assert TrainSettings(epochs=0.1, batch=50).total(10) == 1
    assert TrainSettings(steps=17, epochs=3.0).total(10**6) == 17


def test_a_modality_may_have_bands_of_its_own() -> None:
    settings = ModelSettings(bands=8, max_frequency=6.0, audio=AudioTokens(bands=192))

    assert settings.bands_of(settings.audio) == (192, 6.0)
    assert settings.bands_of(settings.image) == (8, 6.0)
    assert settings.bands_of(settings.mesh) == (8, 20.0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_names_settings_that_exist(name: str) -> None:
    rooms = {"model": ModelSettings(), "train": TrainSettings()}

    for key, value in PRESETS[name].items():
        room, *path = key.replace("-", "_").split(".")
        owner: Any = rooms[room]
        for part in path[:-1]:
            owner = getattr(owner, part)
        values = {field.name: getattr(owner, field.name) for field in fields(owner)}
        assert path[-1] in values
        assert is_dataclass(type(owner)(**{**values, path[-1]: _like(values[path[-1]], value)}))


def _like(current: object, value: Any) -> Any:
    return float(value) if isinstance(current, float) else value
