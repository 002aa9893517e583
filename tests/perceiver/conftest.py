"""A small model of every modality, and samples for it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from perceiver.audio import AudioSpec
from perceiver.image import ImageSpec
from perceiver.inputs import Spec
from perceiver.mesh import MeshSpec
from perceiver.model import Perceiver
from perceiver.settings import AudioTokens, ImageTokens, ModelSettings
from perceiver.video import VideoSpec

Sample = dict[str, np.ndarray[Any, np.dtype[Any]]]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture
def small() -> ModelSettings:
    return ModelSettings(
        latents=6, width=16, heads=4, blocks=2, layers=1, bands=3,
        image=ImageTokens(patch=2), audio=AudioTokens(patch=50, bins=4),
    )  # fmt: skip


@pytest.fixture
def specs(small: ModelSettings) -> dict[str, Spec]:
    sound = {"rate": 8000, "seconds": 0.1, "channels": 1, "std": 1000.0, "mels": 12, "window": 128, "hop": 80}
    pixels = {"height": 8, "width": 6, "mean": (120.0, 110.0, 100.0), "std": (60.0, 50.0, 40.0)}
    return {
        "image": ImageSpec.of(small, **pixels),
        "mel": AudioSpec.of(small, form="mel", **sound),
        "wave": AudioSpec.of(small, form="raw", **sound),
        "mesh": MeshSpec.of(small, points=20, normals=True),
        "video": VideoSpec.of(small, frames=4, **{**pixels, "height": 16, "width": 16}),
    }


@pytest.fixture
def samples() -> list[Sample]:
    """Seven samples, their clips shorter and longer than the window and as long as it."""
    random = np.random.default_rng(0)

    def sample(length: int, frames: int) -> Sample:
        wave = random.integers(-3000, 3000, (length, 1), dtype=np.int16)
        return {
            "image": random.integers(0, 256, (8, 6, 3), dtype=np.uint8),
            "mel": wave,
            "wave": wave,
            "mesh": random.normal(size=(50, 6)).astype(np.float16),
            "video": random.integers(0, 256, (frames, 16, 16, 3), dtype=np.uint8),
        }

    return [
        sample(*lengths) for lengths in ((800, 4), (300, 3), (2000, 9), (90, 1), (801, 5), (799, 2), (500, 3))
    ]


MODALITY = {"mel": "audio", "wave": "audio"}


@pytest.fixture
def build(small: ModelSettings, specs: Mapping[str, Spec]) -> Callable[..., Perceiver]:
    """A model of these inputs (`mel` and `wave` are both audio), its weights far from their first values."""

    def built(*names: str, settings: ModelSettings = small) -> Perceiver:
        model = Perceiver(settings, {MODALITY.get(name, name): specs[name] for name in names}, 5)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
        return model

    return built
