"""The data job: raw files to shards, one Ray Data row per shard; the one file that speaks to Ray Data."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from cluster.storage import Store, store
from preprocessing import commit as commits
from preprocessing import labels as tables
from preprocessing.build import Decoding, finished, key_of, plan_name
from preprocessing.columns import compute
from preprocessing.history import Match, Past, given_up, match, settle
from preprocessing.inventory import Inventory, take
from preprocessing.isolation import build_isolated
from preprocessing.plan import Plan, Work, plan, rebuildable
from preprocessing.raw import raw
from preprocessing.samples import Samples, draw
from preprocessing.settings import SPLITS, DataSettings, stored
from preprocessing.shards import MANIFEST, Shards, existing
from preprocessing.tables import replace_table

Progress = Callable[[int, int], None]
Task = Callable[[str], dict[str, Any]]
Spread = Callable[[Task, list[str]], Iterable[dict[str, Any]]]
"""Does a task for each of these texts, in any order, anywhere."""

REFUSED = "refused.parquet"
HASHED_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What there is to do, found out without reading a raw file."""

    samples: Samples
    past: Past
    matched: Match
    lost: frozenset[str]
    """Shards of the newest version that are gone or cut short."""

    @property
    def counts(self) -> dict[str, int]:
        """Samples by split, before any is read."""
        found = np.bincount(self.samples.split, minlength=len(SPLITS)).tolist()
        return dict(zip(SPLITS, found, strict=True))

    def why(self) -> str:
        """Why the shards must be built, or built on; empty where they are up to date."""
        if self.past.shards is None:
            return "no finished shards there"
        suspects = len(self.matched.suspects)
        unknown, left = self.matched.changes(len(self.past.shard))
        facts = [
            (len(self.lost), "shards are missing or cut short"),
            (suspects, "samples have to be read to tell whether they changed"),
            (unknown if self.past.signed else 0, "samples are new or changed"),
            (left if self.past.signed else 0, "samples are gone or changed"),
        ]
        said = [f"{count:,} {what}" for count, what in facts if count]
        if self.past.shards.unread != commits.unread(self.samples.refused):
            said.append("other files than before make no sample")
        return ", ".join(said)


def shard(settings: DataSettings, place: str, progress: Progress) -> tuple[Shards, bool]:
    """Build what is missing for the raw files as they are now, or find that nothing is (True).

    Ray must be initialised by the caller. Shards that a dead attempt finished are kept.

    Raises:
        UserError: as `check` does, or more files were refused than `settings.max_refused` allows.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(warm)
        return shard_with(on_ray, settings, place, progress)


def warm() -> None:
    """Let Ray Data start its processes while the raw files are listed: 3 s on a quiet machine."""
    import ray

    cpus = int(ray.cluster_resources().get("CPU", 1))
    list(on_ray(rest, ["0.1"] * cpus))


def rest(seconds: str) -> dict[str, Any]:
    """Hold a worker for a moment, so that each task gets one of its own."""
    import time

    time.sleep(float(seconds))
    return {}


def shard_with(spread: Spread, settings: DataSettings, place: str, progress: Progress) -> tuple[Shards, bool]:
    """`shard`, with what does the tasks handed in."""
    survey, _ = check(settings, place)
    if survey is None:
        return tidied(place), True
    home, past, samples = store(place), survey.past, survey.samples
    matched = settle(survey.matched, past, partial(keys, spread, settings, samples))
    again = rebuildable(past, matched, survey.lost)
    matched = given_up(matched, past, survey.lost - {one.name for one in again})
    planned = plan(samples, settings, past, matched, again)
    commits.sweep(home, past.shards, {one.name for one in planned.all})
    build(spread, planned, settings, home, progress)
    commits.prove(home, planned, past)
    gathered = commits.gather(home, planned, past, matched)
    judge(gathered, settings, home)
    if past.shards and commits.same(gathered, past, matched):
        commits.note_again(home, past.shards, gathered)
        return past.shards, not planned.lost
    return commits.commit(home, planned, past, matched, gathered), False


def tidied(place: str) -> Shards:
    """The newest version, which is up to date, without what attempts that died left beside it."""
    shards = Shards.open(place)
    with suppress(UserError, OSError):  # Who may only read there can use them all the same.
        commits.sweep(existing(place), shards, set())
    return shards


def check(settings: DataSettings, place: str) -> tuple[Survey | None, str]:
    """What has to be done, or None where the shards are up to date, and why; reads no raw file.

    Raises:
        UserError: the raw files cannot be used, or the shards at `place` were made with other settings.
    """
    inventory = inventory_of(settings)
    samples = draw(
        inventory, tables.read(settings.labels, settings.raw) if settings.labels else None, settings
    )
    refuse_useless(samples, inventory, settings)
    home = existing(place)
    present = Shards.open(place) if home.size(MANIFEST) >= 0 else None
    if present:
        refuse_other_settings(present, settings, place)
    past = Past.of(present, home)
    matched = match(samples, past, settings.verify_content)
    survey = Survey(
        samples=samples.with_splits(matched.row, past.split()),
        past=past,
        matched=matched,
        lost=frozenset(present.missing()) if present else frozenset(),
    )
    why = survey.why()
    return (survey, why) if why else (None, "up to date")


def inventory_of(settings: DataSettings) -> Inventory:
    """What the raw folder or bucket holds."""
    try:
        return take(raw(settings.raw).entries(), settings.modalities, tabled=bool(settings.labels))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be listed: {error.strerror}. Make it readable.") from error


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
    if not (samples.split == SPLITS.index("train")).any():
        raise UserError(
            f"{settings.raw} holds {', '.join(inventory.splits) or 'no'} folders and no sample to train on. "
            f"Put training files under train/class/."
        )


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
            "Set these back, name another place with data.shards, or delete that one."
        )


def build(spread: Spread, planned: Plan, settings: DataSettings, home: Store, progress: Progress) -> None:
    """Let tasks build what no earlier attempt has finished."""
    total = sum(len(one.members) for one in planned.all)
    todo = commits.unfinished(home, planned)
    done = total - sum(len(one.members) for one in todo)
    progress(done, total)
    task = partial(build_named, settings=settings, place=home.place)
    for result in spread(task, [one.name for one in todo]):
        done += result["planned"]
        progress(done, total)


def build_named(name: str, *, settings: DataSettings, place: str) -> dict[str, Any]:
    """Build the shard whose plan lies at the place, unless an earlier try of this task has."""
    home = store(place)
    text = home.read(plan_name(name))
    if (sidecar := finished(home, name, text)) is not None:
        return {"planned": len(sidecar["keys"]), "refused": len(sidecar["refused"])}
    return build_isolated(Work.of(text), settings, place)


def keys(spread: Spread, settings: DataSettings, samples: Samples, members: NDArray[np.int64]) -> list[str]:
    """The keys of these samples, from their files' content."""
    parts = [members[at : at + HASHED_AT_ONCE] for at in range(0, len(members), HASHED_AT_ONCE)]
    texts = [
        Work(name=str(number), split="", samples=tuple(samples.take(part))).text().decode()
        for number, part in enumerate(parts)
    ]
    found = {int(one["name"]): one["keys"] for one in spread(partial(keys_named, settings=settings), texts)}
    return [key for number in range(len(parts)) for key in found[number]]


def keys_named(text: str, *, settings: DataSettings) -> dict[str, Any]:
    """The keys of some samples."""
    work, decoding = Work.of(text.encode()), Decoding(settings)
    return {"name": work.name, "keys": [key_of(sample, decoding) for sample in work.samples]}


def judge(done: commits.Gathered, settings: DataSettings, home: Store) -> None:
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


def on_ray(task: Task, texts: list[str]) -> Iterator[dict[str, Any]]:
    """Each text a row of Ray Data; the results as they come."""
    if not texts:
        return
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.from_items([{"text": text} for text in texts], override_num_blocks=len(texts))
    # Ray Data does a task that dies with its worker or node again, however often. Three tasks on two cores:
    # it takes 0.15 s to see that one has ended, and writing and uploading wait too.
    results = rows.map(do, fn_args=(task,), num_cpus=0.67)  # pyright: ignore[reportArgumentType]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Ray sets it when the dataset is made.
    for row in results.iter_rows():
        if row["mistake"]:
            raise UserError(row["mistake"])
        yield json.loads(row["result"])


def do(row: dict[str, Any], task: Task) -> dict[str, Any]:
    """One row; a user's mistake is a result, as Ray keeps no exception's type."""
    try:
        return {"result": json.dumps(task(row["text"])), "mistake": ""}
    except UserError as mistake:
        return {"result": "", "mistake": str(mistake)}
