"""Places and whole files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.mistake import UserError
from cluster.storage import folder, local_path, parted, refuse_unwritable, write_whole


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    write_whole(path, b"new")

    assert path.read_bytes() == b"new"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    with pytest.raises(TypeError):
        write_whole(path, "text, not bytes")  # pyright: ignore[reportArgumentType]

    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.json"]


def test_a_bucket_is_refused_where_a_folder_is_needed() -> None:
    with pytest.raises(
        UserError, match=r"has to be a folder(.|\n)*Raw files, shards and checkpoints may lie on s3://"
    ):
        local_path("s3://bucket/prefix")


def test_a_file_uri_is_a_path() -> None:
    assert local_path("file:///tmp/x") == Path("/tmp/x")


@pytest.mark.parametrize(
    ("place", "above", "name"),
    [
        ("/x.jpg", "/", "x.jpg"),
        ("x.jpg", str(Path.cwd()), "x.jpg"),
        ("file:///tmp/a/x.jpg", "/tmp/a", "x.jpg"),
        ("s3://bucket/x.jpg", "s3://bucket", "x.jpg"),
        ("s3://bucket/a/x.jpg", "s3://bucket/a", "x.jpg"),
    ],
)
def test_a_file_lies_somewhere_and_has_a_name_there(place: str, above: str, name: str) -> None:
    assert parted(place) == (above, name)


@pytest.mark.parametrize("refuse", [folder, refuse_unwritable])
def test_a_place_that_cannot_be_written_is_refused_by_name(
    tmp_path: Path, refuse: Callable[[str], object]
) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(UserError, match=r"file/work cannot be written: .*--workspace"):
        refuse(str(tmp_path / "file" / "work"))


def test_looking_whether_a_place_can_be_written_makes_nothing(tmp_path: Path) -> None:
    refuse_unwritable(str(tmp_path / "deep" / "work"))

    assert list(tmp_path.iterdir()) == []
