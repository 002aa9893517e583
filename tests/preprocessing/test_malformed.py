"""Real malformed, hostile and unusual files get what they must."""

import csv
import os
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq
import pytest
from making import settings, sharded
from numpy.typing import NDArray

from preprocessing import source
from preprocessing.build import decode
from preprocessing.inventory import printable
from preprocessing.plan import Part
from preprocessing.reading import Reader
from preprocessing.refusal import Refused
from preprocessing.settings import AudioSettings, DataSettings, ImageSettings

pytestmark = pytest.mark.data

MODALITIES: dict[str, Literal["image", "audio", "mesh", "video"]] = {
    "images": "image",
    "audio": "audio",
    "meshes": "mesh",
    "video": "video",
}

# `policy` rows that end otherwise here, each with its reason; of `must` rows there is none.
OTHERWISE = {
    "aud-d25": "of four hours the first max_seconds are stored; memory stays low",
    "msh-d14": "a point cloud has no surface to sample: no_content",
}

Outcome = tuple[str, str, NDArray[Any] | None]


def rows(malformed: Path) -> list[dict[str, str]]:
    with (malformed / "manifest.csv").open(encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def outcome(malformed: Path, row: dict[str, str], asked: DataSettings) -> Outcome:
    modality = MODALITIES[row["modality"]]
    try:
        data = source.read(malformed / row["file"])
        array = decode(Part(modality, row["file"], len(data), 0), data, row["file"], asked)
    except Refused as refusal:
        return "quarantine", refusal.reason, None
    return "accept", "", array


def test_every_file_gets_what_it_must(malformed: Path) -> None:
    asked = DataSettings(raw="r")
    wrong = []
    seen: Counter[str] = Counter()
    for row in rows(malformed):
        if row["modality"] in MODALITIES:
            expected = (row["expected"], row["reason"])
            got = outcome(malformed, row, asked)
            seen[row["strict"]] += 1
            if got[:2] != expected and row["id"] not in OTHERWISE:
                wrong.append((row["id"], row["what"], expected, got[:2]))

    assert wrong == []
    assert seen["must"] >= 70


def test_what_is_accepted_is_what_the_file_shows(malformed: Path) -> None:
    asked = DataSettings(
        raw="r", image=ImageSettings(size=48, fit="stretch"), audio=AudioSettings(rate=16_000)
    )
    arrays = {
        row["id"]: array
        for row in rows(malformed)
        if row["modality"] in MODALITIES and (array := outcome(malformed, row, asked)[2]) is not None
    }

    red = np.array([200, 60, 60])
    for name, corner in [("img-d04", (0, 0)), ("img-d06", (0, 0)), ("img-d07", (0, -1))]:
        pixel = arrays[name][corner].astype(int)
        assert (pixel[0] > red[0] - 60, pixel[1] < 130, pixel[2] < 130) == (True, True, True), (name, pixel)
    assert abs(arrays["img-d05"].mean() - 127.5) < 1
    assert np.ptp(arrays["img-d02"], axis=2).max() == 0
    assert arrays["aud-d01"].shape == arrays["aud-d27"].shape == (16_000, 1)
    assert abs(arrays["aud-d02"].mean()) < 300
    assert abs(np.abs(arrays["aud-d03"]).max() / 32768 - 0.4) < 0.05
    assert arrays["aud-d26"].shape == (16_000, 1)
    for mesh in ("msh-d02", "msh-d03", "msh-d04", "msh-d05", "msh-d22", "msh-d25"):
        spread = arrays[mesh].std(axis=0) - arrays["msh-d01"].std(axis=0)
        assert np.abs(spread).max() < 0.01, mesh
    assert len(arrays["vid-d01"]) == 8


@pytest.mark.timeout(60)
def test_a_hostile_tree_is_walked_and_accounted_for(malformed: Path, tmp_path: Path) -> None:
    asked = settings(malformed / "tree", max_refused=1.0, val=0.0, test=0.1, image=ImageSettings(size=64))

    shards, _ = sharded(asked, tmp_path / "shards")

    refused = pq.read_table(tmp_path / "shards" / "quarantine.parquet").to_pylist()
    reasons = {f"tree/{row['source']}": row["reason"] for row in refused}
    accepted = {f"tree/{name}" for split in shards.counts for name in Reader(shards, split).sources}
    found = sum(len(files) for _, _, files in os.walk(malformed / "tree")) + 1  # and the link to a folder
    assert shards.found == found == len(accepted) + len(reasons)
    assert shards.classes == ("alpha", "beta")
    for row in rows(malformed):
        name = printable(row["file"])
        if row["modality"] == "tree" and row["strict"] == "must":
            assert (name in accepted) == (row["expected"] == "accept"), row
            assert reasons.get(name, "") == row["reason"], row
