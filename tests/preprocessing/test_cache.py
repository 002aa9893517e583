"""Copies of a bucket's shards: whole or not there, shared by all processes of a node, within the bound."""

import errno
import fcntl
import io
import multiprocessing
import os
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distant import DistantShards, distant

from benchmarks.shards_by_hand import Given, noise, write
from cluster.mistake import UserError
from cluster.storage import store
from preprocessing import shard_files
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.settings import DataSettings
from preprocessing.shard_files import GAP, SPAN, Part, joined
from preprocessing.shards import Shards

SAMPLES = 40
IMAGES = [noise(at, (20, 20, 3)) for at in range(SAMPLES)]


@pytest.fixture
def shards(tmp_path: Path) -> DistantShards:
    """Four shards of ten samples."""
    return distant(write(tmp_path / "bucket", [[Given(arrays={"image": image}) for image in IMAGES]]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def right(reader: Reader, rows: Any = range(SAMPLES)) -> None:
    """The reader gives what was written."""
    np.testing.assert_array_equal(reader.read_batch(rows)["image"], np.stack([IMAGES[row] for row in rows]))


def taken(folder: Path) -> int:
    """Bytes in the cache's folder."""
    return sum(path.stat().st_size for path in folder.iterdir())


def asked(shards: DistantShards) -> Counter[str]:
    """How often the bucket was asked for what."""
    return Counter(kind for kind, _ in shards.home.asked)


def test_a_shard_is_copied_when_it_is_first_touched_and_never_asked_for_again(
    shards: DistantShards, folder: Path
) -> None:
    reader = Reader(shards, "train", Cache(folder, 10**9))

    right(reader, [35, 12, 39])

    assert asked(shards) == {"whole": 2}
    right(reader, [11, 31] * 20)
    right(Reader(shards, "train", Cache(folder, 10**9)), [15])
    assert asked(shards) == {"whole": 2}
    assert {path.read_bytes() for path in folder.glob("*.tar")} == {
        Path(shards.home.behind.home, tar.name).read_bytes() for tar in [*shards.tars][1::2]
    }


def test_the_bound_holds_and_the_rest_is_read_by_range(shards: DistantShards, folder: Path) -> None:
    size = next(shards.tars).bytes
    cache = Cache(folder, int(2.5 * size))
    reader = Reader(shards, "train", cache)

    for _ in range(3):
        right(reader)

    assert taken(folder) == 2 * size
    assert asked(shards)["whole"] == 2
    kept = {path.name for path in folder.iterdir()}
    right(Reader(shards, "train", cache))
    assert {path.name for path in folder.iterdir()} == kept
    assert asked(shards)["whole"] == 2


@pytest.mark.parametrize("cache", [None, 0])
def test_without_room_for_copies_everything_is_read_by_range(
    shards: DistantShards, folder: Path, cache: int | None
) -> None:
    reader = Reader(shards, "train", None if cache is None else Cache(folder, cache))

    right(reader, [3, 30, 17, 3, 16])

    assert "whole" not in asked(shards)


def test_parts_that_lie_together_are_one_request(shards: DistantShards) -> None:
    right(Reader(shards, "train"))

    assert asked(shards) == {"range": 4}


def test_parts_are_joined_over_small_gaps_up_to_a_bound() -> None:
    def part(shard: int, offset: int, size: int) -> Part:
        return Part(shard, offset, memoryview(bytearray(size)))

    near, far = part(0, 10 + GAP, 5), part(0, 16 + 2 * GAP, 5)
    parts = [far, part(1, 0, 5), near, part(0, 5, 5)]
    large = [part(2, at * SPAN // 2, SPAN // 2) for at in range(4)]

    assert [*joined(parts)] == [[parts[3], near], [far], [parts[1]]]
    assert [len(group) for group in joined(large)] == [2, 2]
    assert [*joined([])] == []


def test_readers_that_touch_a_shard_together_copy_it_once(shards: DistantShards, folder: Path) -> None:
    readers = [Reader(shards, "train", Cache(folder, 10**9)) for _ in range(6)]

    with ThreadPoolExecutor(6) as pool:
        [*pool.map(right, readers)]

    assert asked(shards) == {"whole": 4}
    assert sorted(path.name for path in folder.iterdir()) == [
        ".lock", *sorted(f"{tar.sha256}.tar" for tar in shards.tars)
    ]  # fmt: skip


class Slow(io.BytesIO):
    """A stream that says when the first block was read, and then takes its time."""

    began: Path

    def read(self, size: int | None = -1, /) -> bytes:
        if self.began.exists():
            time.sleep(60)
        self.began.touch()
        return super().read(1000)


def killed_while_copying(shards: DistantShards, folder: Path) -> None:
    """A process that is killed when a part of a copy is written."""
    began = folder.with_name("began")

    def copy() -> None:
        Slow.began = began
        shards.home.reading = lambda name: Slow(shards.home.read(name))  # type: ignore[method-assign]
        Reader(shards, "train", Cache(folder, 10**9)).read([0])

    process = multiprocessing.get_context("fork").Process(target=copy)
    process.start()
    while not began.exists():
        time.sleep(0.01)
    time.sleep(0.1)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_copy_torn_by_a_kill_is_never_used_and_its_room_is_free_again(
    shards: DistantShards, folder: Path
) -> None:
    killed_while_copying(shards, folder)
    (torn,) = folder.glob(".*.part")
    assert torn.stat().st_size == next(shards.tars).bytes

    right(Reader(shards, "train", Cache(folder, sum(tar.bytes for tar in shards.tars))))

    assert not torn.exists()
    assert len([*folder.glob("*.tar")]) == 4


def test_what_another_process_is_copying_counts_towards_the_bound(
    shards: DistantShards, folder: Path
) -> None:
    folder.mkdir()
    size = next(shards.tars).bytes
    with (folder / ".another.part").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(3 * size)

        right(Reader(shards, "train", Cache(folder, 4 * size)))

        assert len([*folder.glob("*.tar")]) == 1
        assert taken(folder) == 4 * size


def test_a_copy_that_lost_its_end_is_made_again(shards: DistantShards, folder: Path) -> None:
    cache = Cache(folder, 10**9)
    right(Reader(shards, "train", cache))
    for path in folder.glob("*.tar"):
        os.truncate(path, 100)

    right(Reader(shards, "train", cache))

    assert asked(shards) == {"whole": 8}


def test_copies_that_somebody_removed_are_read_by_range(
    shards: DistantShards, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_files, "OPEN_SHARDS", 1)
    reader = Reader(shards, "train", Cache(folder, 10**9))
    right(reader)
    for path in folder.glob("*.tar"):
        path.unlink()

    right(reader)

    assert asked(shards) == {"whole": 4, "range": 3}


def test_a_shard_whose_bytes_changed_is_refused_and_leaves_no_copy(
    shards: DistantShards, folder: Path
) -> None:
    (path, *_) = sorted(shards.home.behind.home.glob("*.tar"))
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)

    with pytest.raises(UserError, match=rf"{path.name} is damaged: its sha256.*Remove it and shard again"):
        Reader(shards, "train", Cache(folder, 10**9)).read([0])

    assert [path.name for path in folder.iterdir()] == [".lock"]


def test_a_cache_that_cannot_be_written_is_named_with_the_way_out(
    shards: DistantShards, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(
        UserError, match=r"file/cache cannot be written: .*Name another folder with data\.cache"
    ):
        Reader(shards, "train", Cache(tmp_path / "file" / "cache", 10**9)).read([0])


class NoRoom(io.BytesIO):
    """A stream to a disk that is full."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_costs_the_copy_alone(shards: DistantShards, folder: Path) -> None:
    shards.home.reading = lambda name: NoRoom()  # type: ignore[method-assign]

    right(Reader(shards, "train", Cache(folder, 10**9)))

    assert asked(shards) == {"range": 4}
    assert [path.name for path in folder.iterdir()] == [".lock"]


@pytest.mark.s3
def test_a_real_bucket_gives_the_same_arrays_through_the_cache_and_without(
    shards: DistantShards, folder: Path, bucket: str
) -> None:
    place, home = store(f"s3://{bucket}/some shards"), shards.home.behind.home
    for path in (path for path in home.rglob("*") if path.is_file()):
        place.write(path.relative_to(home).as_posix(), path.read_bytes())
    there = Shards.open(place.place)

    right(Reader(there, "train"))
    right(Reader(there, "train", Cache(folder, 2 * next(shards.tars).bytes)))
    assert len([*folder.glob("*.tar")]) == 2

    place.remove([*there.tars][1].name)
    with pytest.raises(UserError, match=r"train-g0000-00001-.*tar is gone; the index names it"):
        Reader(there, "train").read([15])


def test_the_settings_name_the_folder_and_the_bound(tmp_path: Path) -> None:
    settings = DataSettings(raw="raw", cache=str(tmp_path / "here"), cache_gib=0.5)

    assert Cache.of(settings) == Cache(tmp_path / "here", 2**29)
    assert Cache.of(replace(settings, cache=None)).folder.name == "perceiver-shards"
