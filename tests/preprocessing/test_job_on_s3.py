"""Raw files and shards in buckets: the same samples, quarantine and bytes as in folders."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_buckets import Sharded, contents, in_a_thread, listed, put, upload
from making import picture, pictures, settings, sound
from malformed_files import files

from cluster.mistake import UserError
from cluster.storage import store
from preprocessing.cache import Cache
from preprocessing.describing import describe
from preprocessing.inventory import take
from preprocessing.job import Task, check, shard_with
from preprocessing.raw import raw
from preprocessing.reading import Reader
from preprocessing.settings import DataSettings
from preprocessing.shards import Shards
from preprocessing.verifying import verify

pytestmark = pytest.mark.s3

NAMES = ("with space", "plus+and%20percent%", "größe 猫", "a&b<c>'d\"", "dots.in..it", "-", "x=y?z#w", "a\\b")


@pytest.fixture(scope="module")
def sharded() -> Iterator[Sharded]:
    """Shards without Ray, by one thread for all tests here."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda asked, place: pool.submit(shard_with, map, asked, place, lambda *_: None).result()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A raw folder with names of every kind, litter and refused files."""
    root = pictures(tmp_path / "raw", 8)
    for number, name in enumerate(NAMES):
        picture(root / "größe 1+1" / f"{name}.png", seed=50 + number)
    (root / "cat" / "empty.png").touch()
    (root / "cat" / ".hidden.png").touch()
    (root / "dog" / "page.png").write_text("<!DOCTYPE html>")
    (root / "dog" / "notes.txt").write_text("x")
    (root / "README").write_text("x")
    return root


def asked_of(place: Path | str, **more: object) -> DataSettings:
    return settings(Path("of"), raw=str(place), **{"shard_size": 20, "max_refused": 1.0, **more})


@pytest.mark.parametrize("splits", [(), ("train", "test")])
def test_a_bucket_is_listed_as_the_folder_was(bucket: str, root: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        shutil.copytree(root / "cat", root / split / "cat")
    place = upload(root, f"s3://{bucket}/raw")

    there, here = (take(raw(one).entries(), ("image",)) for one in (place, str(root)))

    assert there.splits == here.splits == splits
    assert there.files.drop_columns("stamp") == here.files.drop_columns("stamp")
    assert there.refused == here.refused
    assert there.found == here.found == sum(path.is_file() for path in root.rglob("*"))


def test_one_file_is_named_as_it_is_listed(bucket: str, root: Path) -> None:
    for place in (upload(root, f"s3://{bucket}/raw"), str(root)):
        listed = [one for one in raw(place).entries() if one.path.startswith("größe 1+1/")]
        assert [
            one for name in sorted(one.path for one in listed) for one in raw(place).named(name)
        ] == sorted(listed, key=lambda one: one.path)
        assert len(listed) == len(NAMES)


def test_folders_and_buckets_give_the_same_bytes(
    bucket: str, root: Path, tmp_path: Path, sharded: Sharded
) -> None:
    place = upload(root, f"s3://{bucket}/raw/of the set")
    ways = [
        (str(root), str(tmp_path / "a")),
        (str(root), f"s3://{bucket}/b"),
        (place, str(tmp_path / "c")),
        (place, f"s3://{bucket}/d/e f"),
    ]

    made = [sharded(asked_of(origin), target)[0] for origin, target in ways]

    assert len({one.digest for one in made}) == 1
    first, *others = [contents(target) for _, target in ways]
    assert [other == first for other in others] == [True] * 3
    assert made[0].accepted_files == 24
    assert "größe 1+1/größe 猫.png" in made[0].index()["source"].to_pylist()


def test_a_bucket_gets_the_same_versions_as_a_folder(
    bucket: str, root: Path, tmp_path: Path, sharded: Sharded
) -> None:
    place = upload(root, f"s3://{bucket}/raw")
    ways = [(str(root), str(tmp_path / "shards")), (place, f"s3://{bucket}/shards")]
    first = [sharded(asked_of(*way[:1]), way[1])[0] for way in ways]
    before = listed(f"s3://{bucket}/shards")

    picture(root / "cat" / "new.png", seed=90)
    picture(root / "cat" / "003.png", seed=91, size=9)
    (root / "dog" / "002.png").unlink()
    import boto3

    boto3.client("s3").delete_object(Bucket=bucket, Key="raw/dog/002.png")
    for name in ("new.png", "003.png"):
        put(place, f"cat/{name}", (root / "cat" / name).read_bytes())
    second = [sharded(asked_of(*way[:1]), way[1])[0] for way in ways]

    assert second[0].digest == second[1].digest
    assert (second[1].number, second[1].parent) == (1, first[1].digest)
    assert sum(tar.removed for tar in second[1].tars) == 2
    assert contents(ways[0][1]) == contents(ways[1][1])
    tars = {name: one for name, one in before.items() if name.endswith(".tar")}
    assert tars.items() <= listed(f"s3://{bucket}/shards").items()
    for way, digest in [(ways[1], one.digest) for one in first]:
        assert Shards.open(way[1], digest).number == 0


def test_an_object_that_was_written_again_as_it_was_makes_no_new_version(
    bucket: str, root: Path, sharded: Sharded
) -> None:
    import boto3

    asked = asked_of(upload(root, f"s3://{bucket}/raw"))
    first, _ = sharded(asked, f"s3://{bucket}/shards")
    put(asked.raw, "cat/001.png", (root / "cat" / "001.png").read_bytes())
    assert check(asked, f"s3://{bucket}/shards") == (None, "up to date")

    client, named = boto3.client("s3"), {"Bucket": bucket, "Key": "raw/cat/002.png"}
    upload_id = client.create_multipart_upload(**named)["UploadId"]
    part = client.upload_part(**named, UploadId=upload_id, PartNumber=1,
                              Body=(root / "cat" / "002.png").read_bytes())  # fmt: skip
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    client.complete_multipart_upload(**named, UploadId=upload_id, MultipartUpload=parts)
    _, why = check(asked, f"s3://{bucket}/shards")
    second, skipped = sharded(asked, f"s3://{bucket}/shards")

    assert why == "1 samples have to be read to tell whether they changed"
    assert (second, skipped) == (first, True)
    assert check(asked, f"s3://{bucket}/shards") == (None, "up to date")
    assert sharded(replace(asked, verify_content=True), f"s3://{bucket}/shards") == (first, True)


def test_the_label_table_may_lie_in_a_bucket(
    bucket: str, root: Path, tmp_path: Path, sharded: Sharded
) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "path,label,split,rating\n"
        + "".join(f"cat/{n:03d}.png,{'ab'[n % 2]},train,{n}\n" for n in range(8))
        + '"größe 1+1/größe 猫.png",a,test,9\n'
    )
    place = upload(root, f"s3://{bucket}/raw")
    put(f"s3://{bucket}/tables", "labels of it.csv", table.read_bytes())

    here, _ = sharded(asked_of(root, labels=str(table)), str(tmp_path / "shards"))
    asked = asked_of(place, labels=f"s3://{bucket}/tables/labels of it.csv")
    there, _ = sharded(asked, f"s3://{bucket}/shards")

    assert there.digest == here.digest
    assert (there.classes, there.counts["train"], there.counts["test"]) == (("a", "b"), 8, 1)
    with pytest.raises(UserError, match=r"data.labels is s3://.*/tables/other.csv: there is no such file"):
        check(replace(asked, labels=f"s3://{bucket}/tables/other.csv"), f"s3://{bucket}/shards")


@pytest.mark.parametrize("modality", ["image", "audio", "mesh", "video"])
def test_a_malformed_object_gets_the_same_quarantine_as_the_file(
    bucket: str, tmp_path: Path, modality: Any, sharded: Sharded
) -> None:
    root = tmp_path / "raw"
    table = [one for one in files() if one.modality == modality]
    fine = next(one for one in table if not one.reason)
    bad = {one.reason: one for one in table if one.reason}
    for label, one in (("a", fine), ("b", fine), *(("a", one) for one in bad.values())):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / one.name).write_bytes(one.make())
    (root / "a" / "nothing.png").touch()
    more = {"modalities": (modality,), "val": 0.0, "test": 0.0, "max_bytes": 2**22}

    here, _ = sharded(asked_of(root, **more), str(tmp_path / "shards"))
    there, _ = sharded(asked_of(upload(root, f"s3://{bucket}/raw"), **more), f"s3://{bucket}/shards")

    assert there.refused().to_pylist() == here.refused().to_pylist()
    assert there.digest == here.digest
    assert {row["reason"] for row in here.refused().to_pylist()} >= bad.keys()


@pytest.mark.parametrize("happening", ["replaced", "replaced by as many bytes", "deleted"])
def test_an_object_that_changes_after_it_was_planned_stops_the_run(
    bucket: str, root: Path, happening: str
) -> None:
    import boto3

    place = upload(root, f"s3://{bucket}/raw")
    size = (root / "cat" / "003.png").stat().st_size

    def meddled(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        if happening == "deleted":
            boto3.client("s3").delete_object(Bucket=bucket, Key="raw/cat/003.png")
        else:
            put(place, "cat/003.png", bytes(size if "many" in happening else 7))
        return map(task, names)

    with pytest.raises(UserError, match=r"raw/cat/003.png changed while it was read. Shard again when"):
        in_a_thread(asked_of(place), f"s3://{bucket}/shards", meddled)

    with pytest.raises(UserError, match="no finished shards"):
        Shards.open(f"s3://{bucket}/shards")


def test_shards_in_a_bucket_are_read_verified_and_described_as_those_in_a_folder(
    bucket: str, tmp_path: Path, sharded: Sharded
) -> None:
    root = pictures(tmp_path / "raw", 12)
    for number in range(12):
        for folder in ("cat", "dog"):
            sound(root / folder / f"{number:03d}.wav", seed=number, samples=300 + number)
    asked = asked_of(root, modalities=("image", "audio"))
    here, _ = sharded(asked, str(tmp_path / "shards"))
    there, _ = sharded(asked, f"s3://{bucket}/shards")
    caches = [
        None,
        Cache(tmp_path / "cache", 2**30),
        Cache(tmp_path / "small", here.generations[0].tars[0].bytes),
    ]

    for cache in caches:
        for split in here.counts:
            local, remote = Reader(here, split), Reader(there, split, cache)
            assert remote.keys == local.keys
            assert (remote.labels == local.labels).all()
            rows = np.random.default_rng(0).permutation(len(local))
            for one, other in zip(local.read(rows), remote.read(rows), strict=True):
                assert one.keys() == other.keys()
                assert all((one[name] == other[name]).all() for name in one)
    assert len([*(tmp_path / "cache").glob("*.tar")]) == sum(1 for _ in here.tars)
    assert describe(there) == replace(describe(here), place=there.place)
    good = verify(there.place, "", lambda *_: None)
    assert good == replace(verify(here.place, "", lambda *_: None), place=there.place)
    assert good.faults == ()


def test_damage_in_a_bucket_is_found_and_mended(bucket: str, root: Path, sharded: Sharded) -> None:
    place = f"s3://{bucket}/shards"
    shards, _ = sharded(asked_of(root), place)
    whole = contents(place)
    cut, flipped, *_ = [tar.name for tar in shards.tars]
    data = bytearray(store(place).read(flipped))
    data[700] ^= 1
    put(place, flipped, bytes(data))
    put(place, cut, store(place).read(cut)[:2000])

    verdict = verify(place, "", lambda *_: None)
    store(place).remove(flipped)
    _, why = check(asked_of(root), place)
    again, _ = sharded(asked_of(root), place)

    assert set(verdict.damaged) == {cut, flipped}
    assert why.startswith("2 shards are missing or cut short")
    assert again == shards
    assert contents(place) == whole
