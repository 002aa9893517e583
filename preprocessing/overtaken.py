"""Two runs into one place at once: who is overtaken stops, and undoes nothing.

There is no lock, which a machine that dies would leave behind. What one run takes for leftovers may be the
other's, which misses it; a version that came meanwhile is not replaced by one that does not know it.
"""

from collections.abc import Generator
from contextlib import contextmanager

from cluster.mistake import UserError
from cluster.storage import Store
from preprocessing.shards import MANIFEST, Shards, opened

LATER = "Another run shards into this place: run again when it has ended; what is finished is kept."


@contextmanager
def undisturbed(place: str) -> Generator[None]:
    """Say so where files of the attempt go away."""
    try:
        yield
    except FileNotFoundError as gone:
        raise UserError(
            f"{gone.filename or gone} in {place} went away while it was needed. {LATER}"
        ) from gone


def refuse_overtaken(home: Store, before: Shards | None) -> None:
    """Stop where the newest version is no longer the one that this run builds on."""
    there = opened(home, MANIFEST)["digest"] if home.size(MANIFEST) >= 0 else ""
    if there != (before.digest if before else ""):
        raise UserError(f"{home.place} holds another version than before, {there[:12] or 'none'}. {LATER}")
