"""An attempt that stopped leaves what the next one may keep, and nothing that stands in its way."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from making import picture, pictures, settings, sharded

from cluster.mistake import UserError
from preprocessing.job import Task, shard_with


def test_a_raised_limit_lets_in_what_a_stopped_attempt_refused(tmp_path: Path) -> None:
    raw, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"
    for number in range(4):
        picture(raw / "cat" / f"large{number}.png", size=40)
    with pytest.raises(UserError, match=r"data\.max_bytes is 1000"):
        sharded(settings(raw, max_bytes=1000), place)

    shards, _ = sharded(settings(raw), place)

    assert (shards.accepted_files, shards.quarantined) == (28, 0)


@contextmanager
def refused_by_the_system(path: Path) -> Iterator[None]:
    """A file that cannot be opened for a while, not even by root: a socket lies in its place."""
    aside = path.with_name(".aside")
    path.rename(aside)
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as here:
        here.bind(f"/proc/self/fd/{folder}/{path.name}")  # A socket's path has at most 108 bytes.
    os.close(folder)
    try:
        yield
    finally:
        aside.rename(path)


def test_a_file_made_readable_enters_although_its_size_and_time_are_the_same(tmp_path: Path) -> None:
    raw, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"

    def hindered(task: Task, names: list[str]) -> list[dict[str, Any]]:
        with refused_by_the_system(raw / "cat" / "000.png"), refused_by_the_system(raw / "dog" / "000.png"):
            return [*map(task, names)]

    with pytest.raises(UserError, match=r"unreadable +2"):
        shard_with(hindered, settings(raw), str(place), lambda *_: None)

    shards, _ = sharded(settings(raw), place)

    assert (shards.accepted_files, shards.quarantined) == (24, 0)
