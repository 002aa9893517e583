"""What attempts that died left behind, told apart from everything else."""

import re
from collections.abc import Iterator

from cluster.storage import Store
from preprocessing.build import WORK
from preprocessing.history import LEDGER, ledger_name
from preprocessing.shards import INDEX, QUARANTINE, Shards

OURS = re.compile(r"g\d{4,}-[0-9a-f]{12}\.parquet")
SIDE = re.compile(r"((?:train|val|test)-g\d{4,}-\d{5,}-[0-9a-f]{12})\.(plan\.json|rows\.parquet|done\.json)")
NOTED = re.compile(r"\d{4,}\.parquet")


def sweep(home: Store, shards: Shards | None, building: set[str]) -> None:
    """Remove what attempts that died left behind, but the shards in `building`; never anything else."""
    home.sweep()
    for name in [*leftovers(home, shards, building)]:
        home.remove(name)


def leftovers(home: Store, shards: Shards | None, building: set[str]) -> Iterator[str]:
    """What is there, made by us, and part of no version.

    A shard is a leftover where the plan of an attempt names it and no version holds it. Its mark `done` goes
    first and its plan behind it, so that a sweep that dies leaves no mark of what is no longer whole, and
    what tells whose the shard is.
    """
    held = {tar.name for tar in shards.tars} if shards else set()
    for name in sorted(names(home, WORK)):
        side = SIDE.fullmatch(name)
        if side and side[1] not in building:
            if side[2] == "plan.json" and f"{side[1]}.tar" not in held:
                yield f"{side[1]}.tar"
            yield f"{WORK}/{name}"
    for folder, parts in tables(shards).items():
        yield from (
            f"{folder}/{name}" for name in names(home, folder) if OURS.fullmatch(name) and name not in parts
        )
    if shards:
        ledger = ledger_name(shards.number).removeprefix(f"{LEDGER}/")
        yield from (
            f"{LEDGER}/{name}" for name in names(home, LEDGER) if NOTED.fullmatch(name) and name != ledger
        )


def names(home: Store, folder: str) -> list[str]:
    """What lies in a folder."""
    return [found.name.removeprefix(f"{folder}/") for found in home.list(f"{folder}/")]


def tables(shards: Shards | None) -> dict[str, set[str]]:
    """The files that a version names, by folder."""
    if shards is None:
        return {INDEX: set(), QUARANTINE: set()}
    return {INDEX: {one.index.name for one in shards.generations}, QUARANTINE: {shards.quarantine.name}}
