"""Several labels a sample, from a table to a mean average precision that rises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.settings import RunSettings
from pipelines.tracking.points import Point
from pipelines.training.loop import loop
from pipelines.training.outside import Outside
from preprocessing.job import shard_with
from preprocessing.shards import Shards

NAMES = ("left", "middle", "right")


@pytest.fixture
def several(settings: RunSettings, tmp_path: Path) -> RunSettings:
    """Noisy pictures, bright in none to all of three columns, and the table that says in which."""
    random = np.random.default_rng(0)
    raw, rows = tmp_path / "several", ["path,labels"]
    raw.mkdir()
    for number in range(96):
        there = [name for at, name in enumerate(NAMES) if (number + 1) >> at & 1] or ["left"]
        pixels = random.integers(0, 255, (8, 8), dtype=np.uint8)
        for name in there:
            pixels[:, 1 + 2 * NAMES.index(name)] = 220
        Image.fromarray(pixels).save(raw / f"{number:03d}.png")
        rows.append(f"{number:03d}.png,{';'.join(there)}")
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    data = replace(settings.data, raw=str(raw), labels=str(table))
    train = replace(settings.train, steps=60, evaluate_every=3, label_smoothing=0.05, mixup=0.2)
    return replace(settings, data=data, train=train)


def test_a_run_of_several_labels_learns_them_all(several: RunSettings) -> None:
    shards: Shards = shard_with(map, several.data, several.shards, lambda *_: None)[0]
    points: list[Point] = []

    loop(several, shards.digest, Outside(publish=points.append))

    assert (shards.several, shards.classes) == (True, NAMES)
    precision = [point["val/mAP"] for point in points if "val/mAP" in point]
    losses = [point["val/loss"] for point in points if "val/loss" in point]
    assert (len(precision), precision[0] < 0.92, precision[-1] > 0.97) == (20, True, True), precision
    assert losses[-1] < 0.6 * losses[0]
    assert not any("val/recall" in point for point in points)
