"""Data that came, changed or went: new shards for what is new, nothing rewritten, every version kept."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from making import picture, pictures, published, settings, sharded, sound

from cluster.mistake import UserError
from preprocessing.job import check
from preprocessing.reading import Reader
from preprocessing.shards import Shards
from preprocessing.statistics import Sums, add_array


def tars(place: Path) -> dict[str, tuple[str, int]]:
    """Content and time of every shard."""
    return {
        name: (content, (place / name).stat().st_mtime_ns)
        for name, content in published(place).items()
        if name.endswith(".tar")
    }


def sources(shards: Shards) -> dict[str, str]:
    """Split of every sample, by its source."""
    index = shards.index(["source", "split"])
    return dict(zip(index["source"].to_pylist(), index["split"].to_pylist(), strict=True))


def counted(shards: Shards) -> Sums:
    """The sums over the training split, from the stored arrays."""
    sums: Sums = {}
    reader = Reader(shards, "train")
    for sample in reader.read(np.arange(len(reader))):
        for modality, array in sample.items():
            add_array(sums, modality, array)
    return sums


def rewrite(path: Path) -> None:
    """Other content of the same size."""
    size = path.stat().st_size
    picture(path, seed=4242)
    assert path.stat().st_size == size


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return pictures(tmp_path / "raw", 20)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "shards"


def test_new_files_become_new_shards_and_the_old_ones_are_not_touched(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    before, drawn = tars(place), sources(first)
    for number in range(5):
        picture(raw / "cat" / f"new{number}.png", seed=70 + number)

    second, skipped = sharded(settings(raw), place)

    assert not skipped
    assert (second.number, second.parent) == (1, first.digest)
    assert before.items() <= tars(place).items()
    assert {name for name in tars(place) if name not in before} == {
        tar.name for tar in second.generations[1].tars
    }
    assert drawn.items() <= sources(second).items()
    assert sum(second.counts.values()) == 45
    assert second.statistics == counted(second)
    assert pq.read_table(place / "index.parquet").num_rows == 45


def test_unchanged_files_are_not_even_opened(raw: Path, place: Path) -> None:
    sharded(settings(raw), place)
    for path in raw.rglob("*.png"):
        stamp = path.stat()
        path.write_bytes(bytes(stamp.st_size))
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    picture(raw / "dog" / "new.png", seed=5)

    shards, _ = sharded(settings(raw), place)

    assert sum(shards.counts.values()) == 41
    assert shards.quarantined == 0


def test_a_deleted_file_leaves_the_index_and_its_bytes_stay(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    before = tars(place)
    (raw / "cat" / "003.png").unlink()

    second, _ = sharded(settings(raw), place)

    assert sources(first).keys() - sources(second).keys() == {"cat/003.png"}
    assert tars(place) == before
    assert [tar.removed for tar in second.tars if tar.removed] == [1]
    assert sum(tar.samples - tar.removed for tar in second.tars) == sum(second.counts.values()) == 39
    assert second.statistics == counted(second)


def test_the_reader_counts_the_samples_of_each_shard_that_are_still_there(raw: Path, place: Path) -> None:
    sharded(settings(raw), place)
    for name in ("003.png", "004.png", "011.png"):
        (raw / "cat" / name).unlink()
    pictures(raw, 3, folders=("owl", "emu"))

    shards, _ = sharded(settings(raw), place)

    reader, index = Reader(shards, "train"), shards.index(["split", "shard"])
    here = [one["shard"] for one in index.to_pylist() if one["split"] == "train"]
    left = {tar.name: tar.samples - tar.removed for tar in shards.tars if tar.name.startswith("train")}
    assert list(left) == list(dict.fromkeys(here))
    assert reader.shard_sizes.tolist() == [*left.values()]
    assert reader.shard_sizes.sum() == len(reader)


def test_a_changed_file_is_a_new_sample_in_a_new_shard(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    before = tars(place)
    picture(raw / "cat" / "003.png", seed=99)

    second, _ = sharded(settings(raw), place)

    assert sources(second) == sources(first)
    assert before.items() <= tars(place).items()
    (tar,) = second.generations[1].tars
    assert (tar.samples, sum(tar.removed for tar in second.tars)) == (1, 1)
    assert second.statistics == counted(second)


def test_a_file_rewritten_with_the_same_size_is_found_by_its_time(raw: Path, place: Path) -> None:
    sharded(settings(raw), place)
    rewrite(raw / "cat" / "003.png")

    _, why = check(settings(raw), str(place))
    second, _ = sharded(settings(raw), place)

    assert why == "1 samples have to be read to tell whether they changed"
    assert second.number == 1
    assert sum(tar.samples for tar in second.generations[1].tars) == 1


def test_only_verify_content_finds_a_change_that_keeps_size_and_time(raw: Path, place: Path) -> None:
    sharded(settings(raw), place)
    path = raw / "cat" / "003.png"
    stamp = path.stat()
    rewrite(path)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    assert check(settings(raw), str(place))[0] is None
    shards, _ = sharded(settings(raw, verify_content=True), place)

    assert (shards.number, sum(tar.removed for tar in shards.tars)) == (1, 1)


def test_files_that_were_only_touched_make_no_new_version(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    for path in raw.rglob("*.png"):
        os.utime(path, ns=(1, 1))

    second, skipped = sharded(settings(raw), place)

    assert skipped
    assert second == first
    assert check(settings(raw), str(place)) == (None, "up to date")


def test_a_lost_ledger_is_made_again_from_the_content(raw: Path, place: Path) -> None:
    (raw / "cat" / "empty.png").touch()
    first, _ = sharded(settings(raw), place)
    shutil.rmtree(place / ".ledger")

    second, _ = sharded(settings(raw), place)

    assert second == first
    assert check(settings(raw), str(place)) == (None, "up to date")


def test_litter_makes_no_new_version_and_a_refused_file_does(raw: Path, place: Path) -> None:
    sharded(settings(raw), place)
    (raw / ".DS_Store").touch()
    (raw / "README").touch()

    assert check(settings(raw), str(place))[0] is None
    (raw / "cat" / "empty.png").touch()
    second, _ = sharded(settings(raw), place)

    assert (second.number, second.quarantined, second.found) == (1, 3, 43)
    assert check(settings(raw), str(place))[0] is None


def test_a_refused_file_that_is_mended_enters_and_leaves_the_quarantine(raw: Path, place: Path) -> None:
    (raw / "cat" / "late.png").touch()
    first, _ = sharded(settings(raw), place)
    picture(raw / "cat" / "late.png", seed=3)

    second, _ = sharded(settings(raw), place)

    assert (first.quarantined, second.quarantined) == (1, 0)
    assert sources(second).keys() - sources(first).keys() == {"cat/late.png"}


def test_a_sample_becomes_whole_when_its_second_file_comes(tmp_path: Path, place: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(12):
        for folder in ("cat", "dog"):
            picture(raw / folder / f"{number}.png", seed=number)
            sound(raw / folder / f"{number}.wav", seed=number)
    (raw / "cat" / "7.wav").rename(tmp_path / "later.wav")
    asked = settings(raw, modalities=("image", "audio"))
    first, _ = sharded(asked, place)

    (tmp_path / "later.wav").rename(raw / "cat" / "7.wav")
    second, _ = sharded(asked, place)

    assert (first.quarantined, second.quarantined, second.accepted_files) == (1, 0, 48)
    assert sources(second).keys() - sources(first).keys() == {"cat/7.png"}


def test_every_version_can_be_opened_again(raw: Path, place: Path) -> None:
    versions = [sharded(settings(raw), place)[0]]
    for name in ("003.png", "004.png"):
        (raw / "cat" / name).unlink()
        picture(raw / "dog" / f"new{name}", seed=8)
        versions.append(sharded(settings(raw), place)[0])

    for version in versions:
        again = Shards.open(str(place), version.digest)
        assert again == version
        assert again.index().num_rows == sum(version.counts.values())
        assert {split: len(Reader(again, split)) for split in again.counts} == again.counts
    with pytest.raises(UserError, match="holds no version 0123456789ab"):
        Shards.open(str(place), "0123456789ab")


def test_a_sample_keeps_its_split_when_a_split_folder_appears(tmp_path: Path, place: Path) -> None:
    raw = pictures(tmp_path / "raw", 40, ["train/cat", "train/dog"])
    first, _ = sharded(settings(raw, test=0.3), place)
    assert first.counts["test"] > 5
    pictures(raw, 3, ["test/cat"])

    second, _ = sharded(settings(raw, test=0.3), place)

    assert sources(first).items() <= sources(second).items()
    assert second.counts["test"] == first.counts["test"] + 3


def test_the_same_history_gives_the_same_bytes_elsewhere(tmp_path: Path) -> None:
    digests = []
    for folder in ("one", "two"):
        raw = pictures(tmp_path / folder, 20)
        sharded(settings(raw), tmp_path / f"{folder}-shards")
        picture(raw / "cat" / "new.png", seed=1)
        (raw / "dog" / "001.png").unlink()
        digests.append(sharded(settings(raw), tmp_path / f"{folder}-shards")[0].digest)

    assert digests[0] == digests[1]
    assert published(tmp_path / "one-shards") == published(tmp_path / "two-shards")


def test_a_lost_shard_whose_raw_files_changed_becomes_new_samples(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    lost = first.generations[0].tars[0]
    (place / lost.name).unlink()
    index = first.index(["source", "shard"]).to_pylist()
    (raw / next(row["source"] for row in index if row["shard"] == lost.name)).unlink()

    second, _ = sharded(settings(raw), place)

    assert lost.name not in {tar.name for tar in second.tars}
    assert sum(second.counts.values()) == 39
    assert second.statistics == counted(second)


def test_what_a_kill_after_the_commit_leaves_is_removed_by_the_next_run(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    before = published(place)
    old = place / "index.parquet" / f"g0000-{'0' * 12}.parquet"
    old.write_bytes((place / "index.parquet" / first.generations[0].index.name).read_bytes())
    (place / ".work" / f"{next(first.tars).name.removesuffix('.tar')}.plan.json").write_text("{}")
    (place / "index.parquet" / "mine.parquet").write_text("the user's own")

    _, why = check(settings(raw), str(place))
    again, skipped = sharded(settings(raw), place)

    assert why == "2 files of an attempt that died are to be removed"
    assert (again, skipped) == (first, True)
    assert published(place).keys() - before.keys() == {"index.parquet/mine.parquet"}
    assert check(settings(raw), str(place)) == (None, "up to date")


def test_a_refused_file_is_tried_again_when_it_is_touched(raw: Path, place: Path) -> None:
    small = settings(raw, max_bytes=100, max_refused=1.0, val=0.0, test=0.0)
    late = raw / "cat" / "late.png"
    picture(late, seed=5, size=9)
    fits = (raw / "cat" / "000.png").stat().st_size
    first, _ = sharded(replace(small, max_bytes=fits), place)

    assert check(replace(small, max_bytes=10**6), str(place))[0] is None
    os.utime(late, ns=(1, 1))
    second, _ = sharded(replace(small, max_bytes=10**6), place)

    assert (first.quarantined, second.quarantined) == (1, 0)
    assert sources(second).keys() - sources(first).keys() == {"cat/late.png"}


def test_a_deleted_manifest_takes_no_earlier_version_with_it(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    picture(raw / "cat" / "new.png", seed=5)
    sharded(settings(raw), place)
    (place / "manifest.json").unlink()

    sharded(settings(raw), place)

    again = Shards.open(str(place), first.digest)
    assert again.index().num_rows == 40
    assert again.refused().num_rows == 0


def test_a_version_is_opened_by_all_of_its_digits(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    picture(raw / "cat" / "new.png", seed=5)
    sharded(settings(raw), place)

    with pytest.raises(UserError, match="holds no version"):
        Shards.open(str(place), first.digest[:12] + "x")
