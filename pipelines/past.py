"""The trainings of a workspace that came before the one on the newest shards."""

from pathlib import Path

from cluster.mistake import UserError
from pipelines.artifacts import Trained
from pipelines.made import Made
from preprocessing.shards import Shards


def earlier_data(made: Made) -> str:
    """What the newest training before these shards had learnt from, in words behind a reason; or nothing."""
    found = sorted((made.settings.root / "trainings").glob("*/trained.json"), key=_age)
    trained = Trained.open(found[-1]) if found else None
    if trained is None or trained.shards == made.shards.digest:
        return ""
    return f"; the last training was on {_named(made, trained.shards)}, now {_counted(made.shards)}"


def _named(made: Made, digest: str) -> str:
    try:
        return _counted(Shards.open(made.settings.shards, digest))
    except UserError:  # elsewhere, or deleted
        return f"shards {digest[:12]}"


def _counted(shards: Shards) -> str:
    return f"version {shards.number} ({shards.digest[:12]}) with {shards.counts['train']:,} training samples"


def _age(path: Path) -> float:
    return path.stat().st_mtime
