"""Whoever may write no more publishes no version of the shards, however far he had come."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.attempts import OvertakenError
from pipelines.settings import RunSettings
from preprocessing.job import shard_with
from preprocessing.shards import MANIFEST, Shards


def overtaken() -> None:
    raise OvertakenError("another one is at work")


def build(settings: RunSettings, sealing: Callable[[], None]) -> Shards:
    return shard_with(map, settings.data, settings.shards, lambda done, total: None, sealing)[0]


def test_nothing_is_published_by_who_was_overtaken_and_the_next_one_finds_the_shards_finished(
    settings: RunSettings,
) -> None:
    with pytest.raises(OvertakenError):
        build(settings, overtaken)

    assert not (Path(settings.shards) / MANIFEST).exists()
    assert len(list(Path(settings.shards).glob("*.tar"))) > 0
    assert sum(build(settings, lambda: None).counts.values()) == 72


def test_the_version_before_stays_where_the_one_behind_it_is_fenced_off(
    settings: RunSettings, pictures: Path
) -> None:
    before = build(settings, lambda: None)
    Image.fromarray(np.full((8, 8), 77, np.uint8)).save(pictures / "column-0" / "new.png")

    with pytest.raises(OvertakenError):
        build(settings, overtaken)

    assert Shards.open(settings.shards) == before


def test_notes_of_files_that_were_only_touched_are_fenced_too(settings: RunSettings, pictures: Path) -> None:
    build(settings, lambda: None)
    ledger = Path(settings.shards) / ".ledger" / "0000.parquet"
    noted = ledger.read_bytes()
    (pictures / "column-0" / "000.png").touch()

    with pytest.raises(OvertakenError):
        build(settings, overtaken)

    assert ledger.read_bytes() == noted
