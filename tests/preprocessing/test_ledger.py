"""What is known of earlier versions is never taken for more than it is."""

import json
import os
import shutil
from pathlib import Path

import pytest
from making import picture, pictures, settings, sharded

from preprocessing.job import check
from preprocessing.shards import Shards, seal


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return pictures(tmp_path / "raw", 12)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "shards"


def table(raw: Path, column: str = "label", other: str = "") -> str:
    """A label table of the folders' names, but for the source `other`."""
    lines = [
        f"{path.relative_to(raw)},{'dog' if str(path.relative_to(raw)) == other else path.parent.name};pet"
        for path in sorted(raw.rglob("*.png"))
    ]
    path = raw.parent / "labels.csv"
    path.write_text("\n".join([f"path,{column}", *lines]) + "\n")
    return str(path)


def labels(shards: Shards) -> dict[str, str]:
    index = shards.index(["source", "label"])
    return dict(zip(index["source"].to_pylist(), index["label"].to_pylist(), strict=True))


def test_two_names_that_look_alike_in_print_are_two_files(raw: Path, place: Path) -> None:
    picture(raw / "cat" / "a\\xff.png", seed=5)
    Path(os.fsdecode(bytes(raw) + b"/cat/a\xff.png")).write_bytes(b"nonsense")
    asked = settings(raw, shard_size=100, max_refused=1.0)
    first, _ = sharded(asked, place)
    (raw / "cat" / "000.png").unlink()

    second, _ = sharded(asked, place)

    assert (first.accepted_files, first.quarantined) == (25, 1)
    assert (second.accepted_files, second.quarantined) == (24, 1)


def test_a_lost_ledger_does_not_hide_a_label_that_changed(raw: Path, place: Path) -> None:
    sharded(settings(raw, labels=table(raw)), place)
    shutil.rmtree(place / ".ledger")

    shards, _ = sharded(settings(raw, labels=table(raw, other="cat/000.png")), place)

    assert labels(shards)["cat/000.png"] == "dog;pet"
    assert len(labels(shards)) == 24
    assert check(settings(raw, labels=table(raw, other="cat/000.png")), str(place))[0] is None


def test_a_table_that_gives_several_labels_from_now_on_makes_a_version(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw, labels=table(raw)), place)

    second, _ = sharded(settings(raw, labels=table(raw, "labels")), place)

    assert (first.classes, first.several) == (("cat;pet", "dog;pet"), False)
    assert (second.classes, second.several, second.parent) == (("cat", "dog", "pet"), True, first.digest)
    assert check(settings(raw, labels=table(raw, "labels")), str(place))[0] is None


def test_a_lost_shard_of_another_decoder_becomes_new_samples(raw: Path, place: Path) -> None:
    first, _ = sharded(settings(raw), place)
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["generations"][0]["decoders"]["image"] = "image of an older library"
    manifest["digest"] = seal(manifest)
    (place / "manifest.json").write_text(json.dumps(manifest))
    lost = next(first.tars).name
    (place / lost).unlink()

    shards, _ = sharded(settings(raw), place)

    assert shards.number == 1
    assert lost not in {tar.name for tar in shards.tars}
    assert sum(shards.counts.values()) == 24


def test_an_index_of_which_only_the_archived_copy_is_left_serves(raw: Path, place: Path) -> None:
    sharded(settings(raw), place)
    (place / "versions").mkdir()
    (place / "index.parquet").rename(place / "versions" / "index.parquet")
    (raw / "cat" / "000.png").unlink()

    shards, _ = sharded(settings(raw), place)

    assert shards.index().num_rows == 23
