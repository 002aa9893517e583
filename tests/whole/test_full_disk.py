"""A full disk stops sharding with a word to the user and breaks nothing; with room it goes on from there."""

import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from shard_cases import alone, contents, draw
from small_disk import free, small_disk, used

from cluster.mistake import UserError

pytestmark = pytest.mark.whole

TIMES = 20
BLOCK = 4096


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    with small_disk(tmp_path / "disk") as place:
        yield place


def test_a_full_disk_stops_the_run_by_name_and_with_room_it_ends_with_the_same_bytes(
    disk: Path, tmp_path: Path, chance: random.Random
) -> None:
    raw, place = tmp_path / "raw", disk / "shards"
    draw(raw, range(60))
    alone(raw, place)
    needed, whole = used(disk), contents(place)
    stopped: list[int] = []

    for _ in range(TIMES):
        shutil.rmtree(place)
        (disk / "others").write_bytes(bytes(free(disk) - chance.randrange(BLOCK, 2 * needed, BLOCK)))
        if mistake := refusal(raw, place):
            assert f"{place} has no room left" in mistake
            stopped.append(len([*place.glob("*.tar")]))
            assert_nothing_partial(contents(place), whole)
        (disk / "others").unlink()
        alone(raw, place)
        assert contents(place) == whole

    sys.stdout.write(f"shards there when the disk was full: {sorted(stopped)}\n")
    assert len(set(stopped)) > 2


def assert_nothing_partial(there: dict[str, str], whole: dict[str, str]) -> None:
    """What readers see is as in the end, or not there yet; what the next attempt needs may be there too."""
    seen = {name: content for name, content in there.items() if not name.startswith(".work/")}
    assert seen.items() <= whole.items()


def refusal(raw: Path, place: Path) -> str:
    """What the user is told; empty where the room was enough."""
    try:
        alone(raw, place)
    except UserError as mistake:
        return str(mistake)
    return ""
