"""Small raw folders, and what the fixture `perceiver` gives."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

Command = Callable[..., "subprocess.CompletedProcess[str]"]


def draw_pictures(folder: Path, per_class: int = 24, classes: int = 3, seed: int = 0) -> Path:
    """Noisy 8 x 8 pictures, each class bright in a column of its own, as `folder/class/number.png`."""
    generator = np.random.default_rng(seed)
    for label in range(classes):
        for number in range(per_class):
            pixels = generator.integers(0, 120, (8, 8), dtype=np.uint8)
            pixels[:, 2 * label] = 250
            path = folder / f"column-{label}" / f"{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    return folder
