"""What is written can be read back, by us and by anyone else."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from making import pictures, sharded
from making import settings as small
from numpy.typing import NDArray

from preprocessing import statistics
from preprocessing.reading import Reader
from preprocessing.shards import Shards
from preprocessing.statistics import Sums
from preprocessing.tar import TarWriter

ARRAYS = arrays.arrays(
    some.sampled_from([np.uint8, np.int16, np.float16, np.float32]),
    arrays.array_shapes(min_dims=1, max_dims=4, max_side=9),
)


@given(some.lists(ARRAYS, max_size=5), some.text(max_size=50))
@settings(max_examples=60, deadline=None)
def test_arrays_and_text_come_back_through_tarfile_and_by_offset(
    arrays: list[NDArray[Any]], text: str
) -> None:
    file = io.BytesIO()
    tar = TarWriter(file)
    stored = [tar.add_array(f"{number:x}", "image", array) for number, array in enumerate(arrays)]
    tar.add_text("note", "json", json.dumps(text))
    tar.finish()

    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as read:
        members = {member.name: read.extractfile(member).read() for member in read}  # type: ignore[union-attr]

    assert json.loads(members.pop("note.json")) == text
    assert len(members) == len(arrays)
    for number, (array, where) in enumerate(zip(arrays, stored, strict=True)):
        data = file.getvalue()[where.offset : where.offset + where.length]
        by_offset = np.frombuffer(data, where.dtype).reshape(where.shape)
        by_name = np.load(io.BytesIO(members[f"{number:x}.image.npy"]))
        np.testing.assert_array_equal(by_offset, array)
        np.testing.assert_array_equal(by_name, array)


def test_a_header_holds_no_time_owner_or_extension() -> None:
    file = io.BytesIO()
    TarWriter(file).add_text("a", "json", "{}")

    assert len(file.getvalue()) == 1024
    with tarfile.open(fileobj=io.BytesIO(file.getvalue())) as read:
        (member,) = read.getmembers()
    assert (member.mtime, member.uid, member.uname, member.pax_headers) == (0, 0, "", {})


@given(some.lists(arrays.arrays(np.int16, (5, 2)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_sums_over_channels_are_exact(parts: list[NDArray[np.int16]]) -> None:
    sums: Sums = {}

    for part in parts:
        statistics.add_array(sums, "audio", part)

    values = [[int(value) for part in parts for value in part[:, channel]] for channel in (0, 1)]
    expected = {
        "count": 5 * len(parts),
        "sum": [sum(channel) for channel in values],
        "sum_of_squares": [sum(value * value for value in channel) for channel in values],
    }
    assert sums == ({"audio": expected} if parts else {})


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("read")
    return sharded(small(pictures(folder / "raw", 30)), folder / "shards")[0]


def test_the_reader_gives_what_the_files_hold(shards: Shards) -> None:
    from PIL import Image

    raw = Path(shards.place).parent / "raw"
    for split in ("train", "val", "test"):
        reader = Reader(shards, split)
        for row, sample in enumerate(reader.read(range(len(reader)))):
            source = reader.sources[row]
            np.testing.assert_array_equal(sample["image"], np.asarray(Image.open(raw / source)))
            assert shards.classes[reader.labels[row]] == source.split("/")[0]


def test_keys_hold_no_dot_and_are_unique(shards: Shards) -> None:
    keys = [key for split in ("train", "val", "test") for key in Reader(shards, split).keys]

    assert len(set(keys)) == 60
    assert all(int(key, 16) >= 0 for key in keys)


def test_the_statistics_are_those_of_the_training_split_alone(shards: Shards) -> None:
    reader = Reader(shards, "train")
    pixels = np.concatenate([sample["image"].reshape(-1, 3) for sample in reader.read(range(len(reader)))])

    assert shards.statistics["image"] == {
        "count": len(pixels),
        "sum": pixels.sum(axis=0, dtype=np.int64).tolist(),
        "sum_of_squares": (pixels.astype(np.int64) ** 2).sum(axis=0).tolist(),
    }
