"""Every file below the raw folder is placed or refused."""

import os
from pathlib import Path

import pytest
from making import picture, pictures

from preprocessing.inventory import Inventory, take
from preprocessing.raw import raw


def taken(root: Path) -> Inventory:
    return take(raw(str(root)).entries(), ("image",))


def refused(root: Path) -> dict[str, str]:
    return {one["source"]: one["reason"] for one in taken(root).refused.to_pylist()}


def paths(root: Path) -> list[str]:
    return [os.fsdecode(file["stem"] + file["ending"]) for file in taken(root).files.to_pylist()]


def test_files_are_found_with_the_split_folders_in_the_order_of_their_paths(tmp_path: Path) -> None:
    pictures(tmp_path, 1, ["train/cat", "train/dog", "test/cat"])

    assert taken(tmp_path).splits == ("train", "test")
    assert paths(tmp_path) == ["test/cat/000.png", "train/cat/000.png", "train/dog/000.png"]


def test_a_name_in_any_encoding_is_kept(tmp_path: Path) -> None:
    names = [b"caf\xe9.png", "naïve_测试_🙂.png".encode(), b" lead and trail .png", b"-rf.png", b"a.b.png"]
    (tmp_path / "cat").mkdir()
    for name in names:
        (tmp_path / "cat" / os.fsdecode(name)).touch()

    assert sorted(os.fsencode(Path(path).name) for path in paths(tmp_path)) == sorted(names)


def test_a_pipe_is_refused_unopened(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    os.mkfifo(tmp_path / "cat" / "pipe.png")

    assert refused(tmp_path) == {"cat/pipe.png": "not_regular"}


@pytest.mark.timeout(20)
def test_links_out_of_the_folder_to_folders_and_to_nothing_are_refused(tmp_path: Path) -> None:
    root = pictures(tmp_path / "raw", 1)
    picture(tmp_path / "outside.png")
    (root / "cat" / "out.png").symlink_to(tmp_path / "outside.png")
    (root / "cat" / "self").symlink_to("..")
    (root / "cat" / "dangling.png").symlink_to("nowhere.png")
    (root / "cat" / "inside.png").symlink_to("000.png")

    assert refused(root) == dict.fromkeys(["cat/dangling.png", "cat/out.png", "cat/self"], "not_regular")
    assert "cat/inside.png" in paths(root)


def test_litter_is_refused_and_does_not_count_towards_the_share(tmp_path: Path) -> None:
    pictures(tmp_path, 1, ["train/cat", "train/dog"])
    for name in ["INDEX.csv", "train/cat/.DS_Store", "train/.git/HEAD", "extra/a.txt", "train/cat/._000.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    inventory = taken(tmp_path)

    assert refused(tmp_path) == {
        "INDEX.csv": "unsupported",
        "extra/a.txt": "unsupported",
        "train/.git/HEAD": "unsupported",
        "train/cat/.DS_Store": "unsupported",
        "train/cat/._000.png": "not_media",
    }
    assert not any(inventory.refused["counts"].to_pylist())
    assert inventory.found == 7


def test_an_unknown_ending_counts_and_a_modality_not_asked_for_does_not(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    for name in ["cat/000.txt", "cat/000.wav", "cat/noext"]:
        (tmp_path / name).write_text("x")

    rows = taken(tmp_path).refused.to_pylist()
    found = {one["source"]: (one["reason"], one["counts"]) for one in rows}

    assert found == {
        "cat/000.txt": ("unsupported", True),
        "cat/000.wav": ("not_asked", False),
        "cat/noext": ("unsupported", True),
    }


def test_the_ending_decides_in_either_case_and_is_kept_as_it_is(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "A.PNG")

    (file,) = taken(tmp_path).files.to_pylist()

    assert (file["stem"], file["ending"]) == (b"cat/A", b".PNG")


def test_classes_beside_split_folders_count_as_refused(tmp_path: Path) -> None:
    pictures(tmp_path, 2, ["train/cat", "dog"])

    rows = taken(tmp_path).refused.to_pylist()

    assert [(row["source"], row["reason"], row["counts"]) for row in rows] == [
        ("dog/000.png", "unsupported", True), ("dog/001.png", "unsupported", True),
    ]  # fmt: skip
