"""Raw folders made by the tests themselves."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from preprocessing.job import shard_with
from preprocessing.settings import AudioSettings, DataSettings, ImageSettings
from preprocessing.shards import Shards


def picture(path: Path, *, seed: int = 0, size: int = 8) -> None:
    """A PNG of noise, which keeps its pixels; its bytes are as many whatever the noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    Image.fromarray(pixels).save(path, compress_level=0)


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
    return DataSettings(**{"raw": str(root), **small, **more})  # pyright: ignore[reportArgumentType]


def sharded(asked: DataSettings, place: Path) -> tuple[Shards, bool]:
    """Shards without Ray."""
    return shard_with(map, asked, str(place), lambda *_: None)


def published(place: Path) -> dict[str, str]:
    """sha256 of every file that readers see."""
    files = [path for path in place.rglob("*") if path.is_file() and ".ledger" not in path.parts]
    return {
        path.relative_to(place).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
