"""Why shards would be built on: what came, what changed and what went, as counts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.settings import RunSettings
from preprocessing.job import check
from preprocessing.shards import Shards


def draw(path: Path, size: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (size, size), dtype=np.uint8)
    Image.fromarray(noise).save(path)


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ((2, 0, 0), "2 samples are new"),
        ((0, 3, 0), "3 samples changed"),
        ((0, 0, 1), "1 samples are gone"),
        ((2, 3, 1), "2 samples are new, 3 samples changed, 1 samples are gone"),
    ],
)
def test_what_came_changed_and_went_is_counted(
    settings: RunSettings, shards: Shards, pictures: Path, counts: tuple[int, int, int], said: str
) -> None:
    new, changed, gone = counts
    for number in range(new):
        draw(pictures / "column-0" / f"new-{number}.png", 8)
    for number in range(changed):
        draw(pictures / "column-1" / f"{number:03d}.png", 9)
    for number in range(gone):
        (pictures / "column-2" / f"{number:03d}.png").unlink()

    _, reason = check(settings.data, settings.shards)

    assert reason == said
