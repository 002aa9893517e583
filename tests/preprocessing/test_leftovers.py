"""What attempts that died left goes, in an order that a second death does not harm; nothing else goes."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from making import picture, pictures, published, settings, sharded

from cluster.folder import Folder
from preprocessing.job import Task, shard_with
from preprocessing.leftovers import leftovers, sweep


class KilledError(Exception):
    """Stands for SIGKILL."""


@dataclass(frozen=True)
class Dying(Folder):
    """A folder whose user is killed before it removes one more file."""

    left: list[None] = field(default_factory=list[None])
    """As long as the number of files that are still removed."""

    def remove(self, name: str) -> None:
        if not self.left:
            raise KilledError
        self.left.pop()
        super().remove(name)


def killed_before_the_commit(raw: Path, place: Path) -> None:
    """An attempt that finished its shards and came no further."""

    def killed(task: Task, names: list[str]) -> object:
        yield from map(task, names)
        raise KilledError

    with suppress(KilledError):
        shard_with(killed, settings(raw), str(place), lambda *_: None)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("removals", range(10))
def test_a_sweep_killed_at_any_point_leaves_nothing_that_passes_for_finished(
    tmp_path: Path, removals: int
) -> None:
    raw, place = pictures(tmp_path / "raw", 12), tmp_path / "shards"
    sharded(settings(raw), tmp_path / "whole")
    killed_before_the_commit(raw, place)
    with pytest.raises(KilledError):  # As where a file came, and went again before the next attempt.
        sweep(Dying(place, left=[None] * removals), None, set())

    sharded(settings(raw), place)

    assert published(place) == published(tmp_path / "whole")


def test_files_of_other_names_are_nobodys_leftovers(tmp_path: Path) -> None:
    place = tmp_path / "shards"
    shards, _ = sharded(settings(pictures(tmp_path / "raw", 12)), place)
    picture(place / ".work" / "mine.png")
    for name in (".work/mine.plan.json", "mine.tar", ".ledger/notes.txt"):
        (place / name).write_text("the user's own")

    assert not [*leftovers(Folder(place), shards, set())]
