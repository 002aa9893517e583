"""Raw files with broken ones among them, and what there is to see of shards that came out right."""

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sharding_driver import asked

from preprocessing.job import shard_with
from preprocessing.shards import Shards
from preprocessing.verifying import verify


@dataclass(frozen=True)
class Case:
    """Raw files, what shards there are of them before, and what there are in the end if nothing happens."""

    raw: Path
    before: Path | None
    whole: Path

    def begin(self, place: Path) -> Path:
        """Put there what there is before."""
        if self.before:
            shutil.copytree(self.before, place)
        return place


def draw(raw: Path, numbers: range) -> None:
    """Small PNG and JPEG files of noise, every twelfth of them broken."""
    for number in numbers:
        path = raw / f"class-{number % 5}" / f"{number:03d}{'.png' if number % 3 else '.jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)).save(path)
        if number % 12 == 7:
            broken = (b"", path.read_bytes()[:200], b"<!DOCTYPE html>")[number // 12 % 3]
            path.write_bytes(broken)


def alone(raw: Path, place: Path) -> None:
    """Shard in this process."""
    shard_with(map, asked(str(raw)), str(place), lambda *_: None)


def assert_as_if_nothing_had_happened(case: Case, place: Path) -> None:
    """Every byte is there, nothing else is, and every source once."""
    shards = Shards.open(str(place))
    assert shards.digest == Shards.open(str(case.whole)).digest
    assert contents(place) == contents(case.whole)
    sources = shards.index(["source"])["source"].to_pylist() + shards.refused()["source"].to_pylist()
    raw = [path.relative_to(case.raw).as_posix() for path in case.raw.rglob("*") if path.is_file()]
    assert sorted(sources) == sorted(raw), "none is lost and none is there twice"
    assert shards.found == shards.accepted_files + shards.quarantined == len(raw)
    verdict = verify(str(place), "", lambda *_: None)
    assert not verdict.faults
    assert not verdict.strangers
    for old in case.before.glob("*.tar") if case.before else ():
        assert (place / old.name).stat().st_mtime_ns == old.stat().st_mtime_ns, "not written again"


def contents(place: Path) -> dict[str, str]:
    """sha256 of every file, hidden ones too."""
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in place.rglob("*")
        if path.is_file()
    }
