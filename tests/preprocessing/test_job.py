"""Sharding accounts for every file, gives the same bytes each time, and goes on where it was killed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from in_buckets import in_a_thread
from making import picture, pictures, published, settings, sharded, sound

from cluster.mistake import UserError
from preprocessing.job import Task, check, shard_with
from preprocessing.settings import ImageSettings
from preprocessing.shards import Shards


def quarantine(place: Path) -> dict[str, str]:
    rows = pq.read_table(place / "quarantine.parquet").to_pylist()
    return {row["source"]: row["reason"] for row in rows}


def test_every_file_is_in_a_sample_or_in_quarantine(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 20)
    (raw / "cat" / "empty.png").touch()
    (raw / "dog" / "page.png").write_text("<!DOCTYPE html>")
    (raw / "dog" / "notes.txt").write_text("x")
    (raw / "README").write_text("x")

    shards, skipped = sharded(settings(raw, max_refused=1.0), tmp_path / "shards")

    assert not skipped
    assert (shards.found, shards.accepted_files, shards.quarantined) == (44, 40, 4)
    assert sum(shards.counts.values()) == 40
    assert quarantine(tmp_path / "shards") == {
        "README": "unsupported",
        "cat/empty.png": "empty",
        "dog/notes.txt": "unsupported",
        "dog/page.png": "not_media",
    }


def test_files_of_a_sample_that_lacks_a_modality_are_incomplete(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number in range(12):
        for folder in ("cat", "dog"):
            picture(raw / folder / f"{number}.png", seed=number)
            sound(raw / folder / f"{number}.wav", seed=number)
    (raw / "cat" / "0.wav").write_bytes(b"no sound at all")
    (raw / "dog" / "1.wav").unlink()

    asked = settings(raw, modalities=("image", "audio"), max_refused=1.0)
    shards, _ = sharded(asked, tmp_path / "shards")

    assert quarantine(tmp_path / "shards") == {
        "cat/0.wav": "not_media",
        "cat/0.png": "incomplete",
        "dog/1.png": "incomplete",
    }
    assert (shards.found, shards.accepted_files, shards.quarantined) == (47, 44, 3)
    assert sum(shards.counts.values()) == 22
    assert sorted(shards.statistics) == ["audio", "image"]


def test_the_index_has_the_columns_of_the_contract(tmp_path: Path) -> None:
    sharded(settings(pictures(tmp_path / "raw", 10)), tmp_path / "shards")

    index = pq.read_table(tmp_path / "shards" / "index.parquet")

    assert index.column_names == ["key", "split", "label", "shard", "source", "source_sha256", "arrays"]
    array = index.column("arrays")[0].as_py()[0]
    assert {**array, "offset": 0, "crc32": 0} == {
        "modality": "image", "dtype": "|u1", "shape": [8, 8, 3], "offset": 0, "length": 192, "crc32": 0,
    }  # fmt: skip


def test_a_second_run_finds_the_shards_up_to_date(tmp_path: Path) -> None:
    asked = settings(pictures(tmp_path / "raw", 10))
    first, _ = sharded(asked, tmp_path / "shards")

    second, skipped = sharded(asked, tmp_path / "shards")

    assert skipped
    assert second == first == Shards.open(str(tmp_path / "shards"))
    assert check(asked, str(tmp_path / "shards")) == (None, "up to date")


def test_the_same_files_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        sharded(settings(pictures(tmp_path / folder, 15)), tmp_path / f"{folder}-shards")

    assert published(tmp_path / "one-shards") == published(tmp_path / "two-shards")


def test_tasks_in_other_folders_find_a_raw_folder_that_is_named_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(Path("raw"), 15)
    whole, _ = sharded(settings(tmp_path / "raw"), tmp_path / "whole")

    def elsewhere(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        monkeypatch.chdir("/")
        return map(task, names)

    shards, _ = in_a_thread(settings(Path("raw")), "shards", elsewhere)

    assert shards.digest == whole.digest
    assert published(tmp_path / "shards") == published(tmp_path / "whole")


def test_a_missing_or_cut_shard_is_built_again(tmp_path: Path) -> None:
    asked, place = settings(pictures(tmp_path / "raw", 15)), tmp_path / "shards"
    sharded(asked, place)
    whole = published(place)
    first, second, *_ = sorted(place.glob("train*.tar"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:1000])

    _, why = check(asked, str(place))
    sharded(asked, place)

    assert why.startswith("2 shards are missing or cut short")
    assert published(place) == whole


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    raw, place = pictures(tmp_path / "raw", 10), str(tmp_path / "shards")
    sharded(settings(raw), Path(place))

    with pytest.raises(UserError) as refusal:
        check(settings(raw, image=ImageSettings(size=16), shard_size=5), place)

    assert "data.image.size: 8 there, 16 asked" in str(refusal.value)
    assert "data.shard_size: 10 there, 5 asked" in str(refusal.value)
    assert "data.image.fit" not in str(refusal.value)
    assert "delete" in str(refusal.value)


def test_too_many_refused_files_stop_the_run_with_a_table_and_a_way_out(tmp_path: Path) -> None:
    raw, place = pictures(tmp_path / "raw", 15), tmp_path / "shards"
    for number in range(3):
        (raw / "cat" / f"bad{number}.png").touch()

    with pytest.raises(UserError) as refusal:
        sharded(settings(raw), place)

    assert "3 of 33 files were refused, 9.1%" in str(refusal.value)
    assert "empty              3  cat/bad0.png" in str(refusal.value)
    assert "raise data.max_refused (now 0.05)" in str(refusal.value)
    assert pq.read_table(place / "refused.parquet").num_rows == 3
    with pytest.raises(UserError, match="no finished shards"):
        Shards.open(str(place))
    shards, _ = sharded(settings(raw, max_refused=0.1), place)
    assert shards.quarantined == 3
    assert not (place / "refused.parquet").exists()


def test_nothing_to_train_on_stops_even_a_run_that_never_stops(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "raw" / name).mkdir(parents=True)
        (tmp_path / "raw" / name / "x.png").touch()

    with pytest.raises(UserError, match="none is left to train on"):
        sharded(settings(tmp_path / "raw", max_refused=1.0, val=0.0, test=0.0), tmp_path / "shards")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (None, "no such folder"),
        ([], "holds no file"),
        (["cat"], "one class only, cat"),
        (["test/cat", "test/dog"], "no sample to train on"),
        (["training/cat", "training/dog", "testing/cat"], "rename testing to test, training to train"),
        (["Train/cat", "Test/dog"], r"folders Test, Train, .* rename Test to test, Train to train"),
    ],
)
def test_a_raw_folder_that_cannot_be_used_is_refused(
    tmp_path: Path, folders: list[str] | None, message: str
) -> None:
    raw = tmp_path / "raw"
    if folders is not None:
        raw.mkdir()
        pictures(raw, 5, folders)

    with pytest.raises(UserError, match=message):
        check(settings(raw), str(tmp_path / "shards"))


def test_a_class_may_be_called_as_a_split_is_elsewhere(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 5, ["dev", "prod"])

    survey, _ = check(settings(raw), str(tmp_path / "shards"))

    assert survey
    assert survey.samples.classes() == ("dev", "prod")


def test_a_folder_without_the_modality_says_what_is_there(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 5)

    with pytest.raises(UserError, match=r"no sample of audio(.|\n)*not_asked +10"):
        check(settings(raw, modalities=("audio",)), str(tmp_path / "shards"))


def test_a_file_that_changes_while_it_is_read_stops_the_run(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 10)

    def meddled(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        for path in raw.rglob("*.png"):
            path.write_bytes(b"other")
        return map(task, names)

    with pytest.raises(UserError, match="changed while it was read"):
        shard_with(meddled, settings(raw), str(tmp_path / "shards"), lambda *_: None)

    assert not [path for path in (tmp_path / "shards").iterdir() if path.suffix in (".tar", ".part")]


def test_a_second_run_into_the_same_folder_is_refused_while_one_is_at_work(tmp_path: Path) -> None:
    asked, place = settings(pictures(tmp_path / "raw", 10)), tmp_path / "shards"
    refusals: list[str] = []

    def disturbed(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        with pytest.raises(UserError) as refusal:
            sharded(asked, place)
        refusals.append(str(refusal.value))
        return map(task, names)

    shard_with(disturbed, asked, str(place), lambda *_: None)

    assert refusals == [f"Another run is writing to {place}. Wait until it has ended, or name another place."]
    assert sharded(asked, place)[1]


def test_a_damaged_manifest_is_seen_and_nothing_is_built_over_it(tmp_path: Path) -> None:
    asked, place = settings(pictures(tmp_path / "raw", 10)), tmp_path / "shards"
    whole, _ = sharded(asked, place)
    before = published(place)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["counts"]["train"] += 1
    (place / "manifest.json").write_text(json.dumps(manifest))

    for attempt in (lambda: Shards.open(str(place)), lambda: sharded(asked, place)):
        with pytest.raises(UserError, match=r"is damaged(.|\n)*delete manifest.json and shard again"):
            attempt()

    (place / "manifest.json").unlink()
    again, _ = sharded(asked, place)
    assert again == whole
    assert published(place) == before


@pytest.mark.slow
def test_killed_at_any_point_the_next_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 60)
    sharded(settings(raw), tmp_path / "whole")
    place = tmp_path / "killed"
    built: list[set[int]] = []
    for shards in (1, 4, 7):
        command = [sys.executable, "-c", BUILD, str(raw), str(place), str(Path(__file__).parent)]
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while len(list(place.glob(".work/*.done.json"))) < shards and child.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        built.append({path.stat().st_mtime_ns for path in finished(place)})
        assert not (place / "manifest.json").exists()
    (place / f".{'0' * 32}.part").write_text("half of a shard")
    (place / ".work" / "train-g0000-00000-000000000000.plan.json").write_text("of another plan")
    (place / "train-g0000-00000-000000000000.tar").write_text("a shard of another plan")
    (place / "train-g0000-00001-000000000000.tar").write_text("a file that no plan names")

    sharded(settings(raw), place)

    there = published(place)
    assert there.pop("train-g0000-00001-000000000000.tar")
    assert there == published(tmp_path / "whole")
    assert built[0] < built[1] < built[2]  # what was finished was not built again
    assert built[2] <= {path.stat().st_mtime_ns for path in place.glob("*.tar")}


def finished(place: Path) -> list[Path]:
    """Tars with their mark; of the last one it may be missing yet."""
    marks = [path.name.removesuffix(".done.json") for path in place.glob(".work/*.done.json")]
    return [place / f"{name}.tar" for name in marks]


BUILD = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[3], str(Path(sys.argv[3]).parents[1])]
import making

def slowly(task, names):
    for result in map(task, names):
        time.sleep(0.3)
        yield result

from preprocessing.job import shard_with
shard_with(slowly, making.settings(Path(sys.argv[1])), sys.argv[2], lambda *_: None)
"""
