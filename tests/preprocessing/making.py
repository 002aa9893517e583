"""Raw folders made by the tests themselves, and a builder that needs no Ray."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from preprocessing.build import build_shard
from preprocessing.job import shard_with
from preprocessing.plan import Work
from preprocessing.settings import AudioSettings, DataSettings, ImageSettings
from preprocessing.shards import Shards


def picture(path: Path, *, seed: int = 0, size: int = 8) -> None:
    """A PNG of noise, which keeps its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def sound(path: Path, *, seed: int = 0, samples: int = 400, rate: int = 8000) -> None:
    """A 16-bit mono WAV of noise, which keeps its samples."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(-30_000, 30_000, samples).astype(np.int16)
    soundfile.write(path, values, rate, subtype="PCM_16")


def pictures(root: Path, count: int, folders: Iterable[str] = ("cat", "dog")) -> Path:
    """`count` pictures in each folder."""
    for at, folder in enumerate(folders):
        for number in range(count):
            picture(root / folder / f"{number:03d}.png", seed=1000 * at + number)
    return root


def settings(root: Path, **more: object) -> DataSettings:
    """Settings for small pictures and sounds."""
    small = {"image": ImageSettings(size=8), "audio": AudioSettings(rate=8000), "shard_size": 10}
    return DataSettings(raw=str(root), **{**small, **more})  # pyright: ignore[reportArgumentType]


def in_this_process(works: list[Work], asked: DataSettings, root: Path, home: Path) -> Iterator[int]:
    """Build one shard after the other."""
    for work in works:
        yield build_shard(work, asked, root, home)["planned"]


def sharded(asked: DataSettings, place: Path) -> tuple[Shards, bool]:
    """Shards without Ray."""
    return shard_with(in_this_process, asked, str(place), lambda *_: None)


def published(place: Path) -> dict[str, str]:
    """sha256 of every file that readers see."""
    files = [path for path in place.iterdir() if path.is_file()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
