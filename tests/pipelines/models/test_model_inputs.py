"""What a model is asked: each file once, by the order of names, whatever the batch; a split in its order."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from registered_models import untrained

from pipelines.models.inputs import Inputs, RawFiles, Shown, Split
from pipelines.settings import RunSettings
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.refusal import Refused


def everything(inputs: Inputs, batch: int) -> list[Shown]:
    count, texts = inputs.plan(batch)
    found = [inputs.read(text) for text in texts]
    assert sum(map(len, found)) == count
    assert max(map(len, found)) <= batch
    return [one for part in found for one in part]


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_every_file_is_seen_once_in_the_order_of_its_name(
    settings: RunSettings, pictures: Path, batch: int
) -> None:
    (pictures / "broken.png").write_bytes(b"nothing")
    (pictures / "column-1" / "notes.txt").write_text("nothing")
    (pictures / ".hidden.png").write_bytes(b"nothing")

    shown = everything(RawFiles(settings=settings.data), batch)

    names = sorted(path.relative_to(pictures).as_posix() for path in pictures.rglob("*") if path.is_file())
    assert [one.source for one in shown] == names
    refused = {one.source: one.seen.reason for one in shown if isinstance(one.seen, Refused)}
    assert refused == {
        "broken.png": "not_media", "column-1/notes.txt": "unsupported", ".hidden.png": "unsupported",
    }  # fmt: skip


def test_one_file_is_seen_alone(settings: RunSettings, pictures: Path) -> None:
    (pictures / "column-1" / "notes.txt").write_text("nothing")
    everything_there = {one.source: one for one in everything(RawFiles(settings=settings.data), 10)}
    names = ("column-1/000.png", "column-1/notes.txt")

    picture, notes = (everything(RawFiles(settings=settings.data, one=name), 10) for name in names)

    assert [one.source for one in picture + notes] == [*names]
    assert not isinstance(picture[0].seen, Refused)
    assert np.array_equal(picture[0].seen["image"], everything_there[names[0]].seen["image"])
    assert str(notes[0]) == str(everything_there[names[1]])


def test_a_refused_part_of_a_sample_is_named(settings: RunSettings, pictures: Path) -> None:
    for path in [*pictures.rglob("*.png")][2:]:
        path.unlink()
    first, second = sorted(pictures.rglob("*.png"))
    first.with_suffix(".wav").write_bytes(b"no sound")
    data = replace(settings.data, modalities=("image", "audio"))

    shown = everything(RawFiles(settings=data), 10)

    wav = first.with_suffix(".wav").relative_to(pictures).as_posix()
    assert [one.source for one in shown] == [
        path.relative_to(pictures).as_posix() for path in (first, second)
    ]
    whole, alone = (one.seen for one in shown)
    assert isinstance(whole, Refused)
    assert isinstance(alone, Refused)
    assert (whole.reason, alone.reason) == ("not_media", "incomplete")
    assert whole.detail.startswith(f"{wav}: ")


@pytest.mark.parametrize("batch", [1, 5])
def test_a_split_is_seen_in_its_order_with_its_labels(
    settings: RunSettings, tmp_path: Path, batch: int
) -> None:
    shards = untrained(settings, tmp_path / "model").shards
    reader = Reader(shards, "test")

    shown = everything(
        Split(place=shards.place, version=shards.digest, split="test", cache=Cache.of(settings.data)), batch
    )

    assert [one.source for one in shown] == reader.sources
    assert [shards.classes.index(one.label or "") for one in shown] == reader.labels.tolist()
    for one, sample in zip(shown, reader.read(range(len(reader))), strict=True):
        assert not isinstance(one.seen, Refused)
        assert np.array_equal(one.seen["image"], sample["image"])
