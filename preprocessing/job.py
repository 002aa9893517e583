"""The data job: raw files to shards, one Ray Data row per shard; the one file that speaks to Ray Data."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.storage import folder, local_path, write_whole
from preprocessing import commit as commits
from preprocessing.build import PARTS, build_shard
from preprocessing.commit import Finished
from preprocessing.inventory import Inventory, take
from preprocessing.plan import Part, Plan, Sample, Work, plan
from preprocessing.refusal import Refusal
from preprocessing.settings import DataSettings, stored
from preprocessing.shards import MANIFEST, Shards

Progress = Callable[[int, int], None]
Build = Callable[[list[Work], DataSettings, Path, Path], Iterable[int]]

REFUSED = "refused.parquet"


def shard(settings: DataSettings, place: str, progress: Progress) -> tuple[Shards, bool]:
    """Build the shards of the raw folder, or find that they are up to date (True).

    Ray must be initialised by the caller. Shards that a dead attempt finished are kept.

    Raises:
        UserError: as `check` does, or more files were refused than `settings.max_refused` allows.
    """
    return shard_with(on_ray, settings, place, progress)


def shard_with(build: Build, settings: DataSettings, place: str, progress: Progress) -> tuple[Shards, bool]:
    """`shard`, with the builder handed in."""
    planned, _ = check(settings, place)
    if planned is None:
        return Shards.open(place), True
    home = folder(place)
    (home / PARTS).mkdir(exist_ok=True)
    commits.sweep_unpublished(home)
    todo = [work for work in planned.works if not commits.finished(home, work)]
    withdraw(home, todo)
    total = sum(len(work.samples) for work in planned.works)
    done = total - sum(len(work.samples) for work in todo)
    progress(done, total)
    for samples in build(todo, settings, planned.inventory.root, home):
        done += samples
        progress(done, total)
    gathered = commits.gather(home, planned)
    judge(gathered, settings, home)
    return commits.commit(home, place, planned, gathered), False


def check(settings: DataSettings, place: str) -> tuple[Plan | None, str]:
    """What has to be built, or None where the shards are up to date, and why; reads no raw file.

    Raises:
        UserError: the raw folder cannot be used, or the shards at `place` were made with other settings.
    """
    planned = plan(inventory_of(settings), settings)
    refuse_useless(planned, settings)
    if not (local_path(place) / MANIFEST).exists():
        return planned, "no finished shards there"
    try:
        present = Shards.open(place)
    except UserError:
        return planned, "the manifest there is damaged"
    refuse_other_settings(present, settings, place)
    return (None, "up to date") if (why := outdated(present, planned)) is None else (planned, why)


def outdated(present: Shards, planned: Plan) -> str | None:
    """Why the shards must be built again; None where they need not."""
    if present.decoders != planned.decoders:
        return f"decoders changed from {present.decoders} to {planned.decoders}"
    if present.plan != planned.hash:
        return "raw files were added, removed or changed in size"
    if missing := present.missing():
        return f"{len(missing)} files of the shards are missing or cut short, {missing[0]} among them"
    try:
        seen = (local_path(present.place) / PARTS / commits.SEEN).read_text()
    except OSError:
        seen = ""
    return None if seen == commits.seen(planned) else "raw files were written since"


def inventory_of(settings: DataSettings) -> Inventory:
    """The raw folder's content."""
    root = local_path(settings.raw)
    if not root.is_dir():
        raise UserError(
            f"data.raw is {settings.raw}: there is no such folder. "
            f"Name the folder that holds `[split/]class/file`."
        )
    try:
        return take(root, settings.modalities)
    except OSError as error:
        raise UserError(f"{error.filename} cannot be listed: {error.strerror}. Make it readable.") from error


def refuse_useless(planned: Plan, settings: DataSettings) -> None:
    """Stop where nothing could be learnt from what is there."""
    inventory = planned.inventory
    if not inventory.found:
        raise UserError(f"{settings.raw} holds no file. Put the raw files there as `[split/]class/file`.")
    if not planned.works:
        raise UserError(
            f"{settings.raw} holds {inventory.found} files and no sample of "
            f"{', '.join(settings.modalities)}:\n"
            f"{reasons_table(planned.refused)}\n"
            f"Files must lie as `[split/]class/file`, and data.modalities must name what they are."
        )
    if len(planned.classes) == 1:
        raise UserError(
            f"{settings.raw} holds one class only, {planned.classes[0]}: there is nothing to tell apart. "
            f"Each class needs a folder of its own: `[split/]class/file`."
        )
    if not any(work.split == "train" for work in planned.works):
        raise UserError(
            f"{settings.raw} holds {', '.join(inventory.splits) or 'no'} folders and no sample to train on. "
            f"Put training files under train/class/."
        )


def refuse_other_settings(present: Shards, settings: DataSettings, place: str) -> None:
    """Shards are never replaced by others because a setting was changed."""
    asked = json.loads(json.dumps(stored(settings)))
    keys = [key for key in {**present.settings, **asked} if present.settings.get(key) != asked.get(key)]
    if keys:
        lines = [f"  data.{key}: {present.settings.get(key, 'unset')} there, {asked.get(key, 'unset')} asked"
                 for key in keys]  # fmt: skip
        raise UserError(
            f"The shards in {place} were made with other settings:\n" + "\n".join(lines) + "\n"
            "Set these back, name another folder with data.shards, or delete that one."
        )


def withdraw(home: Path, todo: list[Work]) -> None:
    """Take back a manifest that names shards which are about to be replaced."""
    if any((home / f"{work.name}.tar").exists() for work in todo):
        (home / MANIFEST).unlink(missing_ok=True)


def judge(done: Finished, settings: DataSettings, home: Path) -> None:
    """Stop where more was refused than allowed, or nothing is left to train on; finished shards are kept."""
    refused = [one for one in done.refused if one.counts]
    of = done.accepted_files + len(refused)
    trained = "train" in done.index.column("split").to_pylist()
    if trained and (settings.max_refused >= 1 or len(refused) <= settings.max_refused * of):
        (home / REFUSED).unlink(missing_ok=True)
        return
    write_whole(home / REFUSED, commits.parquet(commits.quarantine_table(done.refused)))
    out = (
        f"raise data.max_refused (now {settings.max_refused:g})"
        if trained
        else "give other raw files: none is left to train on"
    )
    raise UserError(
        f"{len(refused)} of {of} files were refused, {len(refused) / of:.1%}:\n{reasons_table(refused)}\n"
        f"All are listed in {home / REFUSED}. Mend or remove them, or {out}; finished shards are kept."
    )


def reasons_table(refused: Iterable[Refusal]) -> str:
    """Reason, number and one example a line, the most frequent first."""
    rows = list(refused)
    examples = {one.reason: f"{one.source} ({one.detail})" for one in reversed(rows)}
    counts: Counter[str] = Counter(one.reason for one in rows)
    lines = [f"  {reason:<12} {count:>7}  {examples[reason]}" for reason, count in counts.most_common()]
    return "\n".join(lines)


def on_ray(works: list[Work], settings: DataSettings, root: Path, home: Path) -> Iterator[int]:
    """Build shards as Ray Data rows; gives the samples of each that is finished, in any order."""
    if not works:
        return
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = [{"work": json.dumps(asdict(work))} for work in works]
    fixed = {"settings": settings, "root": root, "home": home}
    shards = ray.data.from_items(rows, override_num_blocks=len(rows))
    built = shards.map(build_row, fn_kwargs=fixed)  # pyright: ignore[reportArgumentType]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Ray sets it when the dataset is made.
    for row in built.iter_rows():
        if row["mistake"]:
            raise UserError(row["mistake"])
        yield int(row["planned"])


def build_row(row: dict[str, Any], *, settings: DataSettings, root: Path, home: Path) -> dict[str, Any]:
    """One row of the data job; a user's mistake is a result, as Ray keeps no exception's type."""
    try:
        return {**build_shard(parsed(row["work"]), settings, root, home), "mistake": ""}
    except UserError as mistake:
        return {"planned": 0, "refused": 0, "mistake": str(mistake)}


def parsed(text: str) -> Work:
    """The work that a row holds."""
    work = json.loads(text)
    samples = tuple(
        Sample(sample["identity"], sample["label"], tuple(Part(**part) for part in sample["parts"]))
        for sample in work["samples"]
    )
    return Work(name=work["name"], split=work["split"], samples=samples)
