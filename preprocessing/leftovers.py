"""What attempts that died left behind, told apart from everything else."""

import re

from cluster.storage import Store
from preprocessing.build import WORK
from preprocessing.history import LEDGER, ledger_name
from preprocessing.shards import INDEX, QUARANTINE, Shards

OURS = re.compile(r"g\d{4,}-[0-9a-f]{12}\.parquet")
SIDE = re.compile(r"(.+)\.(plan\.json|rows\.parquet|done\.json)")


def sweep(home: Store, shards: Shards | None, building: set[str]) -> None:
    """Remove what attempts that died left behind, but the shards in `building`; never anything else.

    A shard is such a leftover where the plan of an attempt names it and no version holds it.
    """
    home.sweep()
    named = {tar.name for tar in shards.tars} if shards else set()
    for found in [*home.list(f"{WORK}/")]:
        side = SIDE.fullmatch(found.name.removeprefix(f"{WORK}/"))
        if side and side[1] not in building:
            if side[2] == "plan.json" and f"{side[1]}.tar" not in named:
                home.remove(f"{side[1]}.tar")
            home.remove(found.name)
    parts = (
        {INDEX: [one.index.name for one in shards.generations], QUARANTINE: [shards.quarantine.name]}
        if shards
        else {}
    )
    for folder in (INDEX, QUARANTINE):
        for found in [*home.list(f"{folder}/")]:
            name = found.name.removeprefix(f"{folder}/")
            if OURS.fullmatch(name) and name not in parts.get(folder, []):
                home.remove(found.name)
    for found in [*home.list(f"{LEDGER}/")]:
        if shards and found.name != ledger_name(shards.number):
            home.remove(found.name)
