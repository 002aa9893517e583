"""Raw files for the benchmarks of sharding: JPEGs with the detail of photographs, made once and kept.

Each is a crop of one of scikit-learn's two sample photographs at a zoom, a gain and a mirroring of its own,
with a camera's noise, saved with quality 85 to 90 and halved colour, as cameras and the web do it: decoding
costs what it costs for real ones. Sides and seeds are fixed, so every machine makes the same pictures.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CLASSES = 10
SIGMA = 3.0
DONE = ".done"


@dataclass(frozen=True, kw_only=True)
class Kind:
    about: str
    files: int
    least: int
    """Longer side of the smallest, in pixels."""
    most: int
    """Longer side of the largest."""
    stored: int
    """Side that every contestant stores."""


KINDS = {
    "small": Kind(about="JPEGs of 64-256 px", files=20_000, least=64, most=256, stored=64),
    "photos": Kind(about="JPEGs of about 500 px", files=6_000, least=480, most=520, stored=224),
}


def made(kind: str, home: Path, files: int = 0) -> Path:
    """The folder `class/file.jpg` of one kind, made where it is not there yet."""
    count = files or KINDS[kind].files
    folder = home / f"{kind}-{count}"
    if (folder / DONE).exists():
        return folder / "raw"
    shutil.rmtree(folder, ignore_errors=True)
    for number in range(CLASSES):
        (folder / "raw" / f"class{number}").mkdir(parents=True)
    for number in range(count):
        write(folder / "raw", kind, number)
    (folder / DONE).touch()
    return folder / "raw"


def write(raw: Path, kind: str, number: int) -> Path:
    """One picture; the same number gives the same bytes."""
    seed = np.random.default_rng([sorted(KINDS).index(kind), number])
    path = raw / f"class{number % CLASSES}" / f"{number:06d}.jpg"
    picture(KINDS[kind], seed).save(path, quality=int(seed.integers(85, 91)), subsampling="4:2:0")
    return path


def picture(kind: Kind, seed: np.random.Generator) -> Image.Image:
    """A crop of a photograph, scaled, mirrored, brightened, and made noisy."""
    photo = photographs()[seed.integers(2)]
    longer = int(seed.integers(kind.least, kind.most + 1))
    width, height = longer, round(longer * seed.uniform(0.65, 1.0))
    zoom = seed.uniform(0.6, 1.0) * min(photo.width / width, photo.height / height)
    left, top = seed.uniform(0, photo.width - zoom * width), seed.uniform(0, photo.height - zoom * height)
    box = (left, top, left + zoom * width, top + zoom * height)
    small = photo.resize((width, height), Image.Resampling.BICUBIC, box)
    turned = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if seed.random() < 0.5 else small
    pixels = np.asarray(turned) * np.float32(seed.uniform(0.7, 1.2)) + grain(seed, height, width)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def grain(seed: np.random.Generator, height: int, width: int) -> NDArray[np.float32]:
    """A piece of one large field of noise: drawing it anew would take longer than all the rest."""
    top, left = seed.integers(0, 1024 - height), seed.integers(0, 1024 - width)
    return field()[top : top + height, left : left + width]


@cache
def field() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, SIGMA, (1024, 1024, 3)).astype(np.float32)


@cache
def photographs() -> list[Image.Image]:
    """china.jpg and flower.jpg, 640 x 427."""
    from sklearn.datasets import load_sample_images

    images: list[Any] = load_sample_images().images
    return [Image.fromarray(image) for image in images]


def first(raw: Path, count: int, home: Path) -> Path:
    """A folder of hard links to the first `count` files, without another copy of their bytes."""
    if home.exists():
        return home
    aside = home.with_name(f".{home.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    for path in sorted(raw.rglob("*.jpg"), key=lambda path: path.name)[:count]:
        here = aside / path.relative_to(raw)
        here.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, here)
    aside.rename(home)
    return home


if __name__ == "__main__":
    for name in KINDS:
        print(made(name, Path(sys.argv[1])))
