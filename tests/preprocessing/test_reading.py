"""Rows of the index become arrays and batches: the right ones, in any order, from any number of threads."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from distant import distant
from numpy.typing import NDArray

from benchmarks.shards_by_hand import Given, noise, write
from cluster.mistake import UserError
from preprocessing import shard_files
from preprocessing.buffers import KEPT, Buffers
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards


def given(count: int, *, seed: int = 0, split: str = "train") -> list[Given]:
    """Samples of an image of one size and a sound of any length."""
    return [
        Given(
            arrays={
                "image": noise(seed + at, (6, 5, 3)),
                "audio": noise(seed + at, (at % 7, 2)).astype(np.int16),
            },
            split=split,
            label="cat" if at % 3 else "dog",
        )
        for at in range(count)
    ]


@pytest.fixture(scope="module")
def samples() -> list[Given]:
    return given(35)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory, samples: list[Given]) -> Shards:
    others = given(5, seed=500, split="val")
    return write(tmp_path_factory.mktemp("read"), [[*samples[:20], *others], samples[20:]])


def same(found: NDArray[Any], wanted: NDArray[Any]) -> None:
    np.testing.assert_array_equal(found, wanted, strict=True)


def test_the_reader_gives_the_samples_of_all_generations_in_the_order_of_the_index(
    shards: Shards, samples: list[Given]
) -> None:
    reader = Reader(shards, "train")

    read = reader.read(range(len(reader)))

    assert len(reader) == len(samples) == 35
    assert reader.shard_sizes.tolist() == [10, 10, 10, 5]
    assert [shards.classes[label] for label in reader.labels] == [one.label for one in samples]
    assert (reader.labels.dtype, reader.labels.shape) == (np.int64, (35,))
    for found, one in zip(read, samples, strict=True):
        assert list(found) == ["image", "audio"]
        same(found["image"], one.arrays["image"])
        same(found["audio"], one.arrays["audio"])


def test_keys_and_sources_follow_the_rows(shards: Shards) -> None:
    reader = Reader(shards, "val")

    assert reader.sources == [f"val-g0000-00002-{'0' * 12}.tar/{at}" for at in range(5)]
    assert len({*reader.keys, *Reader(shards, "train").keys}) == 40


def test_a_batch_holds_equal_shapes_in_one_array_and_unequal_ones_apart(
    shards: Shards, samples: list[Given]
) -> None:
    rows = np.array([34, 0, 3, 3, 19, 20])

    batch = Reader(shards, "train").read_batch(rows)

    images = batch["image"]
    assert isinstance(images, np.ndarray)
    same(images, np.stack([samples[row].arrays["image"] for row in rows]))
    assert images.flags.c_contiguous
    assert images.flags.writeable
    assert isinstance(batch["audio"], list)
    for sound, row in zip(batch["audio"], rows, strict=True):
        same(sound, samples[row].arrays["audio"])


def test_sounds_that_happen_to_be_equally_long_are_one_array(shards: Shards, samples: list[Given]) -> None:
    batch = Reader(shards, "train").read_batch([2, 9, 30])

    sounds = batch["audio"]
    assert isinstance(sounds, np.ndarray)
    same(sounds, np.stack([samples[row].arrays["audio"] for row in (2, 9, 30)]))


def test_arrays_without_a_byte_and_batches_without_a_row_are_read_too(shards: Shards) -> None:
    reader = Reader(shards, "train")

    assert np.shape(reader.read_batch([0, 7])["audio"]) == (2, 0, 2)
    assert reader.read([]) == []
    assert reader.read_batch([]) == {"image": [], "audio": []}


def test_a_split_without_samples_is_a_reader_without_rows(shards: Shards) -> None:
    reader = Reader(shards, "test")

    assert reader.shard_sizes.tolist() == []

    assert len(reader) == len(reader.labels) == len(reader.keys) == 0


def test_rows_come_in_the_order_asked_for_as_memory_of_their_own(
    shards: Shards, samples: list[Given]
) -> None:
    swapped = Reader(shards, "train").read(np.array([1, 0, 1]))

    same(swapped[0]["image"], samples[1].arrays["image"])
    same(swapped[1]["image"], samples[0].arrays["image"])
    swapped[0]["image"][:] = 0
    same(swapped[2]["image"], samples[1].arrays["image"])


def test_several_labels_are_a_row_of_ones_and_zeros(tmp_path: Path) -> None:
    words = ["dog;cat", "", "cat", "owl;dog", "cat"]
    some = [Given(arrays={"image": noise(at, (2, 2, 3))}, label=word) for at, word in enumerate(words)]
    shards = write(tmp_path, [some], several=True)

    labels = Reader(shards, "train").labels

    assert shards.classes == ("cat", "dog", "owl")
    same(labels, np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 0]], np.uint8))


def test_samples_of_a_modality_may_differ_in_their_type(tmp_path: Path) -> None:
    types = [np.float16, np.float32, np.float16]
    some = [Given(arrays={"mesh": np.arange(6).reshape(2, 3).astype(one)}) for one in types]
    reader = Reader(write(tmp_path, [some]), "train")

    mixed, alike = reader.read_batch([0, 1])["mesh"], reader.read_batch([2, 0])["mesh"]

    assert isinstance(mixed, list)
    assert [array.dtype for array in mixed] == [np.float16, np.float32]
    same(np.asarray(alike), np.stack([some[0].arrays["mesh"]] * 2))


def test_what_a_batch_lies_in_is_used_again_only_when_nobody_holds_it(shards: Shards) -> None:
    reader = Reader(shards, "train")
    first = np.asarray(reader.read_batch([0, 1, 2, 3])["image"])
    place, wanted = first.ctypes.data, first.copy()

    tensor = torch.from_numpy(first)[1:].flatten()
    view = first[2:].reshape(-1)
    del first
    others = [reader.read_batch([row] * 4) for row in range(4, 10)]

    same(tensor.numpy(), wanted[1:].reshape(-1))
    same(view, wanted[2:].reshape(-1))
    assert place not in [np.asarray(batch["image"]).ctypes.data for batch in others]
    del tensor, view, others
    again = [np.asarray(reader.read_batch([row] * 4)["image"]) for row in range(KEPT)]
    assert place in [batch.ctypes.data for batch in again]


def test_memory_that_is_kept_for_batches_is_bounded() -> None:
    buffers = Buffers()

    arrays = [buffers.array((size, 3), np.dtype(np.int16)) for size in range(1, 50)]
    del arrays

    assert len(buffers._free) == KEPT  # pyright: ignore[reportPrivateUsage]


def test_threads_may_share_a_reader_and_processes_may_send_it(shards: Shards, samples: list[Given]) -> None:
    rows = [*range(35)] * 8
    first = Reader(shards, "train")
    first.read_batch(rows)
    reader = pickle.loads(pickle.dumps(first))
    reader.read_batch(rows)
    reader.close()

    with ThreadPoolExecutor(8) as pool:
        found = [*pool.map(lambda row: reader.read_batch([row, row])["image"][1].tobytes(), rows)]

    assert found == [samples[row].arrays["image"].tobytes() for row in rows]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_more_shards_than_may_be_open_are_read_all_the_same(
    shards: Shards, samples: list[Given], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_files, "OPEN_SHARDS", 2)
    reader = Reader(shards, "train")
    before = open_files()

    for _ in range(2):
        batch = reader.read_batch(range(35))["image"]

    assert open_files() - before == 2
    same(np.asarray(batch), np.stack([one.arrays["image"] for one in samples]))
    reader.close()
    assert open_files() == before


WEBDATASET = """
import pickle, sys
import webdataset
out = {}
for sample in webdataset.WebDataset(sys.argv[2:], shardshuffle=False).decode():
    out[sample["__key__"]] = [sample["image.npy"], sample["audio.npy"], sample["json"]["label"]]
assert not {"preprocessing", "cluster"} & set(sys.modules)
pickle.dump(out, open(sys.argv[1], "wb"))
"""


def test_the_reader_gives_what_webdataset_gives(shards: Shards, tmp_path: Path) -> None:
    paths = [str(Path(shards.place, tar.name)) for tar in shards.tars]
    subprocess.run([sys.executable, "-c", WEBDATASET, "out", *paths], check=True, cwd=tmp_path)
    theirs = pickle.loads((tmp_path / "out").read_bytes())

    for split in ("train", "val"):
        reader = Reader(shards, split)
        for key, label, sample in zip(
            reader.keys, reader.labels, reader.read(range(len(reader))), strict=True
        ):
            image, audio, name = theirs.pop(key)
            same(sample["image"], image)
            same(sample["audio"], audio)
            assert shards.classes[label] == name
    assert not theirs


@pytest.fixture(params=["folder", "range", "copy"])
def torn(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Reader, Path]:
    """A reader of shards that are about to be damaged, and their folder."""
    shards = write(tmp_path / "shards", [given(20)])
    cache = Cache(tmp_path / "cache", 10**9) if request.param == "copy" else None
    place = shards if request.param == "folder" else distant(shards)
    return Reader(place, "train", cache), tmp_path / "shards"


def test_a_shard_of_another_size_is_named_with_the_way_out(torn: tuple[Reader, Path]) -> None:
    reader, folder = torn
    path = sorted(folder.glob("*.tar"))[1]
    size = path.stat().st_size
    os.truncate(path, 600)

    with pytest.raises(UserError, match=rf"{path.name} (holds 600 bytes.*{size}|is damaged).*hard again"):
        reader.read(range(20))
    reader.read(range(10))


def test_a_shard_cut_short_while_it_is_read_is_named(torn: tuple[Reader, Path]) -> None:
    reader, folder = torn
    reader.read_batch(range(20))
    path = sorted(folder.glob("*.tar"))[1]
    os.truncate(path, 600)

    if reader._files._cache:  # pyright: ignore[reportPrivateUsage]
        reader.read_batch(range(20))  # its copy is whole
    else:
        with pytest.raises(UserError, match=rf"{path.name} ends inside a sample"):
            reader.read_batch(range(20))


def test_a_shard_that_is_gone_is_named_with_the_way_out(torn: tuple[Reader, Path]) -> None:
    reader, folder = torn
    path = sorted(folder.glob("*.tar"))[1]
    path.unlink()

    with pytest.raises(UserError, match=rf"{path.name} is gone; the index names it\. Shard again"):
        reader.read(range(20))


def test_an_index_that_does_not_fit_the_manifest_is_refused(shards: Shards) -> None:
    fewer = replace(shards, counts={**shards.counts, "train": 34})
    with pytest.raises(
        UserError, match=r"index holds 35 samples of train, the manifest says 34\. Shard again"
    ):
        Reader(fewer, "train")

    with pytest.raises(UserError, match=r"does not hold 1 arrays a sample: it is damaged\. Shard again"):
        Reader(replace(shards, modalities=("image",)), "train")

    with pytest.raises(UserError, match=r"does not hold one video a sample: it is damaged\. Shard again"):
        Reader(replace(shards, modalities=("image", "video")), "train")

    first, second = shards.generations
    without = replace(shards, generations=(first, replace(second, tars=())))
    with pytest.raises(UserError, match=r"names train-g0001-.*, the manifest does not"):
        Reader(without, "train")
