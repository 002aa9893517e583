"""Two runs into one place: the one that is overtaken says so, and the other's version stays."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from making import picture, pictures, settings, sharded

from cluster.mistake import UserError
from preprocessing.job import Task, check, shard_with
from preprocessing.shards import Shards


@pytest.mark.parametrize("before", [False, True])
def test_a_run_that_is_overtaken_says_so_and_the_others_version_stays(tmp_path: Path, before: bool) -> None:
    raw, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"
    if before:
        sharded(settings(raw), place)
        picture(raw / "cat" / "later.png", seed=77)
    versions: list[Shards] = []

    def overtaken(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        yield task(names[0])
        picture(raw / "dog" / "meanwhile.png", seed=78)
        versions.append(sharded(settings(raw), place)[0])
        yield from map(task, names[1:])

    with pytest.raises(UserError, match="Another run shards into this place"):
        shard_with(overtaken, settings(raw), str(place), lambda *_: None)

    assert Shards.open(str(place)) == versions[0]
    assert not versions[0].missing()
    assert check(settings(raw), str(place))[0] is None


def test_a_version_that_came_before_the_commit_is_not_replaced(tmp_path: Path) -> None:
    raw, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"
    versions: list[Shards] = []

    def overtaken(done: int, total: int) -> None:
        if done == total:
            (place / ".work").rename(tmp_path / "work")
            picture(raw / "dog" / "meanwhile.png", seed=78)
            versions.append(sharded(settings(raw), place)[0])
            shutil.copytree(tmp_path / "work", place / ".work", dirs_exist_ok=True)

    with pytest.raises(UserError, match="holds another version than before"):
        shard_with(map, settings(raw), str(place), overtaken)

    assert Shards.open(str(place)) == versions[0]
