"""A listing tells new data from old without reading any."""

import os
import random
from dataclasses import replace
from pathlib import Path

from preprocessing.glance import UNSEEN, data_version, digest
from preprocessing.raw import Entry
from preprocessing.settings import DataSettings


def test_a_new_changed_or_lost_file_is_another_version(pictures: Path) -> None:
    settings = DataSettings(raw=str(pictures))
    versions = [data_version(settings)[0]]
    one = next(pictures.rglob("*.png"))

    (one.parent / "new.png").write_bytes(b"new")
    versions.append(data_version(settings)[0])
    os.utime(one, ns=(1, 1))
    versions.append(data_version(settings)[0])
    one.unlink()
    versions.append(data_version(settings)[0])

    assert len(set(versions)) == 4
    assert versions[-1] == data_version(settings)[0]


def test_the_order_of_a_listing_does_not_matter(chance: random.Random) -> None:
    entries = [Entry(f"a/{number}\udcff", number, number) for number in range(20)]
    mixed = chance.sample(entries, len(entries))

    assert digest(mixed) == digest(entries)
    assert digest(entries[1:]) != digest(entries)


def test_other_labels_are_another_version(pictures: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("path,label\n")
    settings = DataSettings(raw=str(pictures), labels=str(table))
    before, _ = data_version(settings)

    table.write_text("path,label\na,b\n")

    assert data_version(settings)[0] != before
    assert data_version(replace(settings, labels=None))[0] != before


def test_data_that_cannot_be_seen_from_here_is_said(tmp_path: Path) -> None:
    version, why = data_version(DataSettings(raw=str(tmp_path / "nowhere")))

    assert version == UNSEEN
    assert "there is no such folder" in why
