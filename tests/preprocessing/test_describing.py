"""What shards hold is counted from their index, by class, split, modality and reason."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from hand_made import by_hand, manifest_of, parquet, publish
from making import picture, pictures, settings, sharded

from preprocessing.describing import Reason, Stored, Version, describe
from preprocessing.shards import INDEX, INDEX_COLUMNS, Shards


def test_samples_are_counted_by_class_and_split(tmp_path: Path) -> None:
    shards = by_hand(tmp_path / "shards")

    described = describe(shards)

    assert described.samples == {"train": 10, "val": 5, "test": 0}
    assert described.classes == {
        "cat": {"train": 4, "val": 1, "test": 0},
        "dog": {"train": 3, "val": 2, "test": 0},
        "owl": {"train": 3, "val": 2, "test": 0},
    }


def test_a_sample_of_several_labels_counts_for_each(tmp_path: Path) -> None:
    place = tmp_path / "shards"
    by_hand(place)
    rows: list[dict[str, Any]] = pq.read_table(place / INDEX).to_pylist()
    rows[0]["label"] = "cat;owl"
    manifest = manifest_of(place)
    manifest["generations"][0]["index"] = parquet(place / INDEX, rows, INDEX_COLUMNS)
    publish(place, {**manifest, "several": True})

    described = describe(Shards.open(str(place)))

    assert described.classes["cat"]["train"] == 4
    assert described.classes["owl"]["train"] == 4


def test_shapes_are_told_by_their_least_their_median_and_their_most(tmp_path: Path) -> None:
    def make(generator: np.random.Generator, label: str) -> dict[str, Any]:
        length = {"cat": 90, "dog": 30, "owl": 60}[label]
        return {
            "audio": np.zeros((length, 1), np.int16),
            "video": np.zeros((2, 4, 4, 3) if label == "cat" else (1, 8, 8, 3), np.uint8),
        }

    described = describe(by_hand(tmp_path / "shards", make))

    assert described.modalities["audio"] == Stored(
        dtype="<i2",
        arrays=15,
        bytes=5 * (90 + 30 + 60) * 2,
        shapes=3,
        least=(30, 1),
        median=(60, 1),
        most=(90, 1),
    )
    assert described.modalities["video"] == Stored(
        dtype="|u1", arrays=15, bytes=5 * 96 + 10 * 192, shapes=2,
        least=(2, 4, 4, 3), median=(1, 8, 8, 3), most=(1, 8, 8, 3),
    )  # fmt: skip


def test_refused_inputs_are_told_by_reason_with_an_example(tmp_path: Path) -> None:
    described = describe(by_hand(tmp_path / "shards"))

    assert described.quarantine == (
        Reason(reason="truncated", inputs=2, example="cat/torn.png", detail="ends in its header"),
        Reason(reason="unsupported", inputs=1, example="notes.txt", detail="no decoder"),
    )


def test_generations_and_versions_are_told(tmp_path: Path) -> None:
    root, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"
    asked = settings(root, val=0.3)
    first, _ = sharded(asked, place)
    picture(root / "dog" / "new.png", seed=77)
    second, _ = sharded(asked, place)

    described = describe(second)

    assert [(one.number, one.samples) for one in described.generations] == [(0, 24), (1, 1)]
    assert sum(one.shards for one in described.generations) == len(list(second.tars))
    assert described.versions == (
        Version(digest=second.digest, parent=first.digest, samples=25),
        Version(digest=first.digest, parent="", samples=24),
    )


def test_an_earlier_version_is_described_as_it_was(tmp_path: Path) -> None:
    root, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"
    asked = settings(root, val=0.3)
    first, _ = sharded(asked, place)
    before = describe(first)
    (root / "dog" / "003.png").unlink()
    sharded(asked, place)

    after = describe(Shards.open(str(place), first.digest))

    assert (after.classes, after.generations) == (before.classes, before.generations)
    assert sum(before.classes["dog"].values()) == 12
    assert json.loads(json.dumps(after.samples)) == dict(first.counts)
