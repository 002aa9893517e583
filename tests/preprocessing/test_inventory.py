"""Every file below the raw folder is placed or refused."""

import os
from pathlib import Path

import pytest
from making import picture, pictures

from preprocessing.inventory import File, take


def refused(root: Path) -> dict[str, str]:
    return {one.source: one.reason for one in take(root, ("image",)).refused}


def test_files_are_found_with_their_split_and_class(tmp_path: Path) -> None:
    pictures(tmp_path, 1, ["train/cat", "train/dog", "test/cat"])

    files = take(tmp_path, ("image",)).files

    assert [(file.path, file.split, file.label) for file in files] == [
        ("test/cat/000.png", "test", "cat"),
        ("train/cat/000.png", "train", "cat"),
        ("train/dog/000.png", "train", "dog"),
    ]


def test_a_file_deeper_than_its_class_belongs_to_it(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "monday" / "a.png")

    (file,) = take(tmp_path, ("image",)).files

    assert (file.label, file.stem) == ("cat", "cat/monday/a")


def test_a_name_in_any_encoding_is_kept(tmp_path: Path) -> None:
    names = [b"caf\xe9.png", "naïve_测试_🙂.png".encode(), b" lead and trail .png", b"-rf.png", b"a.b.png"]
    (tmp_path / "cat").mkdir()
    for name in names:
        (tmp_path / "cat" / os.fsdecode(name)).touch()

    files = take(tmp_path, ("image",)).files

    assert sorted(os.fsencode(Path(file.path).name) for file in files) == sorted(names)


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
    assert "cat/inside.png" in [file.path for file in take(root, ("image",)).files]


def test_litter_is_refused_and_does_not_count_towards_the_share(tmp_path: Path) -> None:
    pictures(tmp_path, 1, ["train/cat", "train/dog"])
    for name in ["INDEX.csv", "train/cat/.DS_Store", "train/.git/HEAD", "extra/a.png", "train/cat/._000.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    inventory = take(tmp_path, ("image",))

    assert {one.source: one.reason for one in inventory.refused} == {
        "INDEX.csv": "unsupported",
        "extra/a.png": "unsupported",
        "train/.git/HEAD": "unsupported",
        "train/cat/.DS_Store": "unsupported",
        "train/cat/._000.png": "not_media",
    }
    assert not any(one.counts for one in inventory.refused)
    assert inventory.found == 7


def test_an_unknown_ending_counts_and_a_modality_not_asked_for_does_not(tmp_path: Path) -> None:
    pictures(tmp_path, 1)
    for name in ["cat/000.txt", "cat/000.wav", "cat/noext"]:
        (tmp_path / name).write_text("x")

    found = {one.source: (one.reason, one.counts) for one in take(tmp_path, ("image",)).refused}

    assert found == {
        "cat/000.txt": ("unsupported", True),
        "cat/000.wav": ("not_asked", False),
        "cat/noext": ("unsupported", True),
    }


def test_the_ending_decides_in_either_case(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "A.PNG")

    (file,) = take(tmp_path, ("image",)).files

    assert isinstance(file, File)
    assert (file.stem, file.suffix) == ("cat/A", ".png")
