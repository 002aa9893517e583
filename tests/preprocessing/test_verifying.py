"""Damage of every kind is found, told with shard and sample, and nothing else is."""

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hand_made import by_hand, manifest_of, parquet, publish
from making import picture, pictures, settings, sharded

from cluster.mistake import UserError
from preprocessing.examining import LISTED, Fault
from preprocessing.shards import INDEX, INDEX_COLUMNS, MANIFEST, QUARANTINE, QUARANTINE_COLUMNS, Shards
from preprocessing.tar import BLOCK
from preprocessing.verifying import AGAIN, ANEW, OLD, Verdict, verify

FIRST, SECOND = "train-g0000-00000-0123456789ab.tar", "train-g0000-00001-0123456789ab.tar"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    by_hand(tmp_path / "shards")
    return tmp_path / "shards"


def verdict(place: Path) -> Verdict:
    return verify(str(place), "", lambda *_: None)


def told(place: Path) -> list[tuple[str, str, str]]:
    """File, sample and what of every fault."""
    return [(fault.file, fault.key, fault.what) for fault in verdict(place).faults]


def rows_of(place: Path) -> list[dict[str, Any]]:
    return pq.read_table(place / INDEX).to_pylist()


def lies(place: Path, key: str) -> int:
    """Where the values of a sample's picture begin."""
    (row,) = (row for row in rows_of(place) if row["key"] == key)
    return row["arrays"][0]["offset"]


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x40
    path.write_bytes(data)


def reindexed(place: Path, rows: list[dict[str, Any]], **more: object) -> None:
    """Another index, with a manifest that is sealed anew."""
    manifest = manifest_of(place)
    (place / INDEX / manifest["generations"][0]["index"]["name"]).unlink()
    manifest["generations"][0]["index"] = parquet(place / INDEX, rows, INDEX_COLUMNS)
    publish(place, {**manifest, **more})


def key(number: int) -> str:
    return f"{number:024x}"


def test_what_is_whole_has_no_fault(place: Path) -> None:
    calls: list[tuple[int, int]] = []

    found = verify(str(place), "", lambda done, total: calls.append((done, total)))

    assert found.faults == ()
    assert found.strangers == ()
    assert (found.shards, found.samples, found.quarantined) == (3, 15, 3)
    assert found.digest == Shards.open(str(place)).digest
    assert calls == [(5, 15), (10, 15), (15, 15)]


def test_one_changed_pixel_is_found_in_its_sample(place: Path) -> None:
    flip(place / FIRST, lies(place, key(3)) + 7)

    faults = told(place)

    assert faults[0] == (FIRST, key(3), "the values of its image were changed")
    assert [(file, sample) for file, sample, _ in faults[1:]] == [(FIRST, "")]
    assert "sha256" in faults[1][2]
    assert verdict(place).damaged == (FIRST,)
    assert verdict(place).faults[0].way_out == AGAIN


def test_a_broken_header_costs_its_sample_and_no_other(place: Path) -> None:
    opening = lies(place, key(2)) % BLOCK or BLOCK
    flip(place / FIRST, lies(place, key(2)) - opening - BLOCK + 3)

    faults = told(place)

    assert {sample for _, sample, _ in faults} == {key(2), ""}
    assert "no header of a tar" in faults[0][2]


def test_a_header_of_a_json_is_told_with_its_sample(place: Path) -> None:
    end = lies(place, key(2)) + 8 * 8 * 3
    flip(place / FIRST, end + -end % BLOCK + 3)

    faults = told(place)

    assert {sample for _, sample, _ in faults} == {key(2), ""}
    assert "no header of a tar" in faults[0][2]


def test_a_page_of_zeros_is_passed_over(place: Path) -> None:
    data = bytearray((place / FIRST).read_bytes())
    begin = lies(place, key(1)) // BLOCK * BLOCK - BLOCK
    data[begin : begin + 2 * BLOCK] = bytes(2 * BLOCK)
    (place / FIRST).write_bytes(data)

    faults = told(place)

    assert {sample for _, sample, _ in faults} == {key(1), ""}
    assert f"at byte {begin:,}" in faults[0][2]


def test_a_shard_that_was_cut_is_told_with_the_samples_that_are_lost(place: Path) -> None:
    data = (place / FIRST).read_bytes()
    (place / FIRST).write_bytes(data[: lies(place, key(3)) + 5])

    faults = told(place)

    assert faults[0][:2] == (FIRST, key(3))
    assert "the tar ends inside" in faults[0][2]
    assert (FIRST, key(4), "the index names it, the tar holds it not") in faults
    assert any("bytes, the manifest says" in what for _, _, what in faults)
    assert not {key(0), key(1), key(2)} & {sample for _, sample, _ in faults}


def test_two_shards_that_changed_places_are_both_told(place: Path) -> None:
    first, second = (place / FIRST).read_bytes(), (place / SECOND).read_bytes()
    (place / FIRST).write_bytes(second)
    (place / SECOND).write_bytes(first)

    faults = told(place)

    assert verdict(place).damaged == (FIRST, SECOND)
    assert (FIRST, key(7), "the tar holds it, the index does not name it") in faults
    assert (FIRST, key(2), "the index names it, the tar holds it not") in faults


def test_a_sample_that_the_index_forgot_is_named(place: Path) -> None:
    reindexed(place, [row for row in rows_of(place) if row["key"] != key(6)])

    faults = told(place)

    assert (SECOND, key(6), "the tar holds it, the index does not name it") in faults
    assert (MANIFEST, "", "says 10 samples of train, the index holds 9") in faults


def test_what_was_removed_since_need_not_be_in_the_index(place: Path) -> None:
    manifest = manifest_of(place)
    manifest["generations"][0]["shards"][2]["removed"] = 1
    publish(place, manifest)
    rows = [row for row in rows_of(place) if row["key"] != key(12)]
    counts = {"train": 10, "val": 4, "test": 0}
    reindexed(place, rows, counts=counts, accepted_files=14, found=17)

    assert told(place) == []


def test_more_removed_than_stated_are_told(place: Path) -> None:
    manifest = manifest_of(place)
    manifest["generations"][0]["shards"][2]["removed"] = 1
    publish(place, manifest)
    rows = [row for row in rows_of(place) if row["key"] not in (key(12), key(13))]
    reindexed(place, rows, counts={"train": 10, "val": 3, "test": 0}, accepted_files=13, found=16)

    ((_, _, what),) = told(place)

    assert what == (
        f"holds 2 samples that the index does not name ({key(12)}, {key(13)}), the manifest says 1"
    )


def rewritten(path: Path, change: Callable[[str, bytes], bytes]) -> None:
    """The tar with other contents, in as valid a form."""
    old, new = path.read_bytes(), io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(old)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            assert file is not None
            data = change(member.name, file.read())
            plain = tarfile.TarInfo(member.name)
            plain.size = len(data)
            new.write(plain.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % BLOCK))
    path.write_bytes(new.getvalue() + bytes(2 * BLOCK))


@pytest.mark.parametrize(("fact", "said"), [("label", "owl"), ("source", "cat/x.png"), ("split", "test")])
def test_a_fact_in_the_json_that_is_not_the_indexs_is_named(place: Path, fact: str, said: str) -> None:
    def change(name: str, data: bytes) -> bytes:
        return json.dumps({**json.loads(data), fact: said}).encode() if name == f"{key(3)}.json" else data

    rewritten(place / FIRST, change)

    assert any(
        sample == key(3) and f"its .json says {fact} '{said}', the index says" in what
        for _, sample, what in told(place)
    )


def test_a_json_that_is_none_is_named(place: Path) -> None:
    rewritten(place / FIRST, lambda name, data: b"{" if name == f"{key(3)}.json" else data)

    assert (FIRST, key(3)) in {(file, sample) for file, sample, what in told(place) if ".json cannot" in what}


def test_an_array_of_another_shape_than_the_index_says_is_named(place: Path) -> None:
    rows = rows_of(place)
    rows[4]["arrays"][0]["shape"] = [8, 4, 6]
    reindexed(place, rows)

    assert (
        FIRST, key(4), "its image is |u1 [8, 8, 3], the index says |u1 [8, 4, 6]",
    ) in told(place)  # fmt: skip


def test_an_array_of_another_place_than_the_index_says_is_named(place: Path) -> None:
    rows = rows_of(place)
    rows[4]["arrays"][0]["offset"] += 1
    reindexed(place, rows)

    assert any(sample == key(4) and "from byte" in what for _, sample, what in told(place))


def test_a_label_that_is_no_class_is_named(place: Path) -> None:
    rows = rows_of(place)
    rows[11]["label"] = "fox"
    reindexed(place, rows)

    assert any(
        sample == key(11) and what == "its label in the index, fox, is none of the 3 classes"
        for _, sample, what in told(place)
    )


def test_a_key_that_is_there_twice_is_named(place: Path) -> None:
    rows = rows_of(place)
    rows.append({**rows[4], "shard": SECOND})
    reindexed(place, rows)

    faults = told(place)

    assert (INDEX, key(4), "the key is there 2 times") in faults
    assert (SECOND, key(4), "the index names it, the tar holds it not") in faults


def test_a_row_that_lies_in_a_shard_nobody_names_is_told(place: Path) -> None:
    rows = rows_of(place)
    rows[4]["shard"] = "elsewhere.tar"
    reindexed(place, rows)

    assert any("1 samples lie in elsewhere.tar" in what for _, _, what in told(place))


def test_a_count_of_the_manifest_that_is_wrong_is_told_though_it_is_sealed(place: Path) -> None:
    publish(place, {**manifest_of(place), "counts": {"train": 9, "val": 6, "test": 0}})

    assert told(place) == [
        (MANIFEST, "", "says 9 samples of train, the index holds 10"),
        (MANIFEST, "", "says 6 samples of val, the index holds 5"),
    ]


def test_inputs_that_nobody_accounts_for_are_told(place: Path) -> None:
    publish(place, {**manifest_of(place), "found": 19})

    ((file, _, what),) = told(place)

    assert file == MANIFEST
    assert what == "says 19 inputs were found, and accounts for 15 accepted and 3 quarantined"


def test_statistics_that_are_one_off_are_told(place: Path) -> None:
    statistics = manifest_of(place)["statistics"]
    statistics["image"]["sum"][1] += 1
    publish(place, {**manifest_of(place), "statistics": statistics})

    assert told(place) == [(MANIFEST, "", "its statistics of image are not those of the training samples")]


def test_a_manifest_that_was_changed_is_a_fault(place: Path) -> None:
    publish(place, manifest_of(place))
    (place / MANIFEST).write_text((place / MANIFEST).read_text().replace('"found": 18', '"found": 17'))

    ((file, _, what),) = told(place)

    assert file == MANIFEST
    assert "its digest does not fit" in what


def test_a_shard_that_is_gone_is_told(place: Path) -> None:
    (place / SECOND).unlink()

    assert told(place)[0] == (SECOND, "", "is gone, with 5 samples")
    assert verdict(place).damaged == (SECOND,)


@pytest.mark.parametrize("folder", [INDEX, QUARANTINE])
def test_a_table_that_is_gone_or_torn_is_told(place: Path, folder: str) -> None:
    (path,) = (place / folder).iterdir()
    path.write_bytes(path.read_bytes()[:-9])
    torn = told(place)
    path.unlink()
    gone = told(place)

    assert [file for file, _, _ in torn] == [f"{folder}/{path.name}"] * 2
    assert "sha256" in torn[0][2]
    assert "cannot be read" in torn[1][2]
    assert [(file, what.split(",")[0]) for file, _, what in gone] == [(f"{folder}/{path.name}", "is gone")]


def test_a_quarantine_with_a_row_less_than_its_manifest_says_is_told(place: Path) -> None:
    manifest = manifest_of(place)
    manifest["quarantine"] = parquet(place / QUARANTINE, [], QUARANTINE_COLUMNS)
    publish(place, manifest)

    assert told(place) == [(MANIFEST, "", "says 3 quarantined in 0 rows")]


def test_files_that_nobody_names_are_told_and_no_fault(place: Path) -> None:
    stray = "val-g0000-00009-ba9876543210.tar"
    (place / stray).write_bytes(bytes(2 * BLOCK))
    pq.write_table(pa.table({"key": ["a"]}), place / INDEX / "g0009.parquet")

    found = verdict(place)

    assert found.faults == ()
    assert found.strangers == (f"{INDEX}/g0009.parquet", stray)


def test_an_earlier_version_is_verified_by_its_digest(place: Path) -> None:
    earlier = manifest_of(place)
    (place / "versions").mkdir()
    (place / "versions" / f"{earlier['digest'][:12]}.json").write_text(json.dumps(earlier))
    publish(place, {**earlier, "parent": earlier["digest"], "found": 19})

    found = verify(str(place), earlier["digest"], lambda *_: None)

    assert found.digest == earlier["digest"]
    assert found.faults == ()
    assert len(told(place)) == 1


def test_of_many_faults_the_first_are_told_and_the_others_counted(tmp_path: Path) -> None:
    by_hand(tmp_path / "shards", per_shard=50, shards=["train"])
    rewritten(tmp_path / "shards" / FIRST, lambda name, data: b"{" if name.endswith("json") else data)

    found = verdict(tmp_path / "shards")

    assert len(found.faults) == LISTED
    assert found.untold == 50 + 1 - LISTED
    assert found.faults[0] == Fault(file=FIRST, key=key(0), what=found.faults[0].what, way_out=AGAIN)


def test_floats_and_several_modalities_are_whole_too(tmp_path: Path) -> None:
    def make(generator: np.random.Generator, label: str) -> dict[str, Any]:
        return {
            "mesh": generator.normal(size=(30, 3)).astype(np.float16),
            "audio": generator.integers(-(2**15), 2**15, (int(generator.integers(50, 90)), 2), np.int16),
        }

    by_hand(tmp_path / "shards", make)

    assert told(tmp_path / "shards") == []


def test_a_place_without_shards_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no finished shards"):
        verdict(tmp_path)


def test_a_version_that_is_not_there_is_the_users_mistake(place: Path) -> None:
    with pytest.raises(UserError, match="holds no version feed"):
        verify(str(place), "feed", lambda *_: None)


def raw(folder: Path) -> Path:
    """Pictures, and two files that are none."""
    root = pictures(folder / "raw", 12)
    (root / "cat" / "torn.png").write_bytes((root / "cat" / "000.png").read_bytes()[:60])
    (root / "notes.txt").write_text("not a picture")
    return root


def test_what_the_job_leaves_behind_is_whole_in_every_version(tmp_path: Path) -> None:
    root, place = raw(tmp_path), tmp_path / "shards"
    asked = settings(root, val=0.3, max_refused=1.0)
    first, _ = sharded(asked, place)
    (root / "cat" / "003.png").unlink()
    picture(root / "dog" / "new.png", seed=77)
    second, _ = sharded(asked, place)

    now, then = verdict(place), verify(str(place), first.digest, lambda *_: None)

    assert (now.faults, then.faults) == ((), ())
    assert (now.digest, then.digest) == (second.digest, first.digest)
    assert (now.samples, then.samples) == (24, 24)
    assert now.strangers == ()
    assert any(tar.removed for tar in second.tars)


def test_the_way_out_of_a_damaged_shard_is_true(tmp_path: Path) -> None:
    root, place = raw(tmp_path), tmp_path / "shards"
    asked = settings(root, val=0.3, max_refused=1.0)
    before, _ = sharded(asked, place)
    tar = next(before.tars)
    flip(place / tar.name, 700)
    (fault, *_) = verdict(place).faults

    assert (fault.file, fault.way_out) == (tar.name, AGAIN)

    (place / fault.file).unlink()
    after, _ = sharded(asked, place)

    assert after.digest == before.digest
    assert verdict(place).faults == ()


def test_the_way_out_of_a_shard_of_which_samples_were_removed_is_true(tmp_path: Path) -> None:
    root, place = raw(tmp_path), tmp_path / "shards"
    asked = settings(root, val=0.3, max_refused=1.0)
    first, _ = sharded(asked, place)
    (root / "cat" / "003.png").unlink()
    second, _ = sharded(asked, place)
    (tar,) = (tar for tar in second.tars if tar.removed)
    flip(place / tar.name, 700)
    now, then = verdict(place), verify(str(place), first.digest, lambda *_: None)

    assert {fault.way_out for fault in now.faults if fault.file == tar.name} == {ANEW}

    (place / tar.name).unlink()
    third, _ = sharded(asked, place)
    lost = verify(str(place), first.digest, lambda *_: None)

    assert verdict(place).faults == ()
    assert third.counts == second.counts
    assert {fault.way_out for fault in then.faults if fault.file == tar.name} == {ANEW}
    assert {fault.way_out for fault in lost.faults if fault.file == tar.name} == {OLD}
