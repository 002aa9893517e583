"""Where the product's own code lies: the four rooms, side by side."""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("cluster", "perceiver", "pipelines", "preprocessing")


def sources(root: Path = ROOT) -> Iterator[Path]:
    """Every Python file of the rooms, in order."""
    yield from sorted(path for room in ROOMS for path in (root / room).rglob("*.py"))
