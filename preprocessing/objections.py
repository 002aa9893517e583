"""Why raw files cannot be sharded as they are, in words that say the way out."""

import json
import os
from collections import Counter

import pyarrow as pa

from cluster.mistake import UserError
from cluster.storage import Store, absolute, is_bucket, local_path
from preprocessing.columns import compute
from preprocessing.gathering import Gathered
from preprocessing.inventory import Inventory
from preprocessing.samples import Samples
from preprocessing.settings import SPLITS, DataSettings, stored
from preprocessing.shards import Shards
from preprocessing.tables import replace_table

REFUSED = "refused.parquet"
ALIKE = {
    "train": "train", "training": "train", "trainset": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "testset": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
"""What others call split folders, in small letters, and what they are called here."""


def refuse_useless(samples: Samples, inventory: Inventory, settings: DataSettings) -> None:
    """Stop where nothing could be learnt from what is there."""
    lie = (
        "Files must lie as `[split/]class/file`" if not settings.labels else "The label table must name them"
    )
    if not inventory.found:
        raise UserError(f"{settings.raw} holds no file. Put the raw files there as `[split/]class/file`.")
    if not len(samples):
        raise UserError(
            f"{settings.raw} holds {inventory.found} files and no sample of "
            f"{', '.join(settings.modalities)}:\n"
            f"{reasons_table(samples.refused)}\n"
            f"{lie}, and data.modalities must name what they are."
        )
    if len(samples.classes()) == 1:
        raise UserError(
            f"{settings.raw} holds one class only, {samples.classes()[0]}: there is nothing to tell apart. "
            f"Each class needs a folder of its own: `[split/]class/file`, or a name in data.labels."
        )
    if not settings.labels and not inventory.splits:
        refuse_misnamed_splits(samples, settings)
    if not (samples.split == SPLITS.index("train")).any():
        raise UserError(
            f"{settings.raw} holds {', '.join(inventory.splits) or 'no'} folders and no sample to train on. "
            f"Put training files under train/class/."
        )


def refuse_misnamed_splits(samples: Samples, settings: DataSettings) -> None:
    """Stop where all classes are called as split folders are elsewhere."""
    classes = samples.classes()
    if all(name.lower() in ALIKE for name in classes):
        names = ", ".join(f"{name} to {ALIKE[name.lower()]}" for name in classes)
        raise UserError(
            f"{settings.raw} has the folders {', '.join(classes)}, which would be the classes. Split folders "
            f"are called train, val and test: rename {names}, or name a table in data.labels."
        )


def refuse_nested(settings: DataSettings, place: str) -> None:
    """Shards below the raw files would be raw files themselves, others after every run."""
    inner, outer = (real(one) for one in (place, settings.raw))
    if f"{inner}/".startswith(f"{outer}/"):
        raise UserError(
            f"The shards' place {place} lies in data.raw, {settings.raw}: they would be taken for raw files. "
            f"Name another place with --data.shards, or another --workspace."
        )


def real(place: str) -> str:
    """A place without links, or a URI."""
    return absolute(place) if is_bucket(place) else os.path.realpath(local_path(place))


def refuse_other_settings(present: Shards, settings: DataSettings, place: str) -> None:
    """Shards are never replaced by others because a setting was changed."""
    asked = json.loads(json.dumps(stored(settings)))
    names = [name for name in {**present.settings, **asked} if present.settings.get(name) != asked.get(name)]
    if names:
        there = present.settings
        lines = [f"  data.{name}: {there.get(name, 'unset')} there, {asked.get(name, 'unset')} asked"
                 for name in names]  # fmt: skip
        raise UserError(
            f"The shards in {place} were made with other settings:\n" + "\n".join(lines) + "\n"
            "Set these back, name another --workspace (or data.shards), or delete that place."
        )


def judge(done: Gathered, settings: DataSettings, home: Store) -> None:
    """Stop where more was refused than allowed, or nothing is left to train on; finished shards are kept."""
    counted = done.refused.filter(done.refused["counts"])
    of = done.accepted_files + counted.num_rows
    trained = done.counts["train"] > 0
    if trained and (settings.max_refused >= 1 or counted.num_rows <= settings.max_refused * of):
        home.remove(REFUSED)
        return
    replace_table(home, REFUSED, done.refused.drop_columns("counts"))
    out = (
        f"raise data.max_refused (now {settings.max_refused:g})"
        if trained
        else "give other raw files: none is left to train on"
    )
    raise UserError(
        f"{counted.num_rows} of {of} files were refused, {counted.num_rows / of:.1%}:\n"
        f"{reasons_table(done.refused)}\n"
        f"All are listed in {home.place}/{REFUSED}. Mend or remove them, or {out}; finished shards are kept."
    )


def reasons_table(refused: pa.Table) -> str:
    """Reason, number and one example a line, the most frequent first."""
    counts: Counter[str] = Counter(refused["reason"].to_pylist())
    lines: list[str] = []
    for reason, count in counts.most_common():
        first = refused.filter(compute.equal(refused["reason"], reason)).slice(0, 1).to_pylist()[0]
        lines.append(f"  {reason:<12} {count:>7}  {first['source']} ({first['detail']})")
    return "\n".join(lines)
