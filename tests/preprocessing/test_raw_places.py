"""What a file system may hold is listed, whatever it is; what can never be sharded is refused at once."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from making import pictures, settings, sharded

from cluster.mistake import UserError
from preprocessing.job import check


def test_a_link_to_itself_is_refused_like_one_to_nothing(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 12)
    (raw / "cat" / "loop.png").symlink_to("loop.png")

    shards, _ = sharded(settings(raw), tmp_path / "shards")

    assert [(row["source"], row["reason"]) for row in shards.refused().to_pylist()] == [
        ("cat/loop.png", "not_regular")
    ]


def test_a_file_of_any_time_is_taken(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 12)
    os.utime(raw / "cat" / "000.png", ns=(10**19, 10**19))  # In the year 2286.
    os.utime(raw / "cat" / "001.png", ns=(-(10**18), -(10**18)))

    shards, _ = sharded(settings(raw), tmp_path / "shards")

    assert shards.accepted_files == 24
    assert check(settings(raw), str(tmp_path / "shards"))[0] is None


def test_shards_in_the_raw_folder_are_refused(tmp_path: Path) -> None:
    raw = pictures(tmp_path / "raw", 12)
    (tmp_path / "link").symlink_to(raw)

    for place in (raw, raw / "shards", tmp_path / "link" / "shards"):
        with pytest.raises(UserError, match=r"lies in data\.raw"):
            sharded(settings(raw), place)
    with pytest.raises(UserError, match=r"lies in data\.raw"):
        check(replace(settings(raw), raw="s3://box/raw"), "s3://box/raw/shards/")

    assert not (raw / "shards").exists()
    check(settings(raw), str(tmp_path / "raw-shards"))
