"""Every kind of bad file, one row each: modality, name, what is wrong, its bytes, what must become of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import malformed_clips
import malformed_images
import malformed_meshes
import malformed_sounds
from malformed_images import Row

from preprocessing.settings import Modality


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """One file and its fate."""

    modality: Modality
    name: str
    """Its name, unique within the modality."""
    what: str
    """What is unusual about it."""
    make: Callable[[], bytes]
    """Its content."""
    reason: str
    """Why it must be refused; empty where it must be stored."""


def files() -> Iterator[Malformed]:
    """The whole table."""
    tables: dict[Modality, tuple[Row, ...]] = {
        "image": malformed_images.ROWS,
        "audio": malformed_sounds.ROWS,
        "mesh": malformed_meshes.ROWS,
        "video": malformed_clips.ROWS,
    }
    for modality, rows in tables.items():
        for name, what, make, reason in rows:
            yield Malformed(modality=modality, name=name, what=what, make=make, reason=reason)
