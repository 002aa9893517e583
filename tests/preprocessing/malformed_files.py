"""Every kind of bad file, one row each: modality, name, what is wrong, its bytes and what must become of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import malformed_images
import malformed_sounds
import malformed_meshes
import malformed_clips

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
    tables = (("image", malformed_images), ("audio", malformed_sounds), ("video", malformed_clips), ("mesh", malformed_meshes))
    for modality, table in tables:
        for name, what, make, reason in table.ROWS:
            yield Malformed(modality=modality, name=name, what=what, make=make, reason=reason)
