"""Small raw folders, and what the fixture `perceiver` gives."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

MODEL = """
[data.image]
size = 8
[model]
latents = 4
width = 16
heads = 2
blocks = 2
layers = 1
bands = 2
"""
"""The part of a run file that all small runs share: tiny pictures, a tiny model."""
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


def kill_tree(process: "subprocess.Popen[Any]") -> None:
    """SIGKILL a process with all its descendants: Ray's leave the process group, so that would miss them."""
    for pid in [*descendants(process.pid), process.pid]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
    found, waiting = [], [pid]
    while waiting:
        parent = waiting.pop()
        young = [child for child, of in parents.items() if of == parent]
        found += young
        waiting += young
    return found
