"""The data job: raw files to shards, one Ray Data row per shard; the one file that speaks to Ray Data."""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.mistake import AwayError, UserError
from cluster.storage import Store, absolute, store
from preprocessing import commit as commits
from preprocessing import labels as tables
from preprocessing.build import Decoding, finished, key_of, plan_name
from preprocessing.drawing import draw
from preprocessing.gathering import gather, same
from preprocessing.history import Match, Past, given_up, match, settle
from preprocessing.inventory import Inventory, take
from preprocessing.isolation import build_isolated
from preprocessing.leftovers import leftovers, sweep
from preprocessing.objections import judge, refuse_nested, refuse_other_settings, refuse_useless
from preprocessing.overtaken import undisturbed
from preprocessing.plan import Plan, Work, decoders, plan, rebuildable
from preprocessing.raw import raw
from preprocessing.samples import Samples
from preprocessing.settings import SPLITS, DataSettings
from preprocessing.shards import MANIFEST, Shards, existing

Progress = Callable[[int, int], None]
Task = Callable[[str], dict[str, Any]]
Spread = Callable[[Task, list[str]], Iterable[dict[str, Any]]]
"""Does a task for each of these texts, in any order, anywhere."""

HASHED_AT_ONCE = 256
TOLD_APART = 100_000
"""New and gone samples up to which those are found that only changed."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What there is to do, found out without reading a raw file."""

    samples: Samples
    past: Past
    matched: Match
    lost: frozenset[str]
    """Shards of the newest version that are gone or cut short."""
    left: int
    """Files that an attempt which died left behind the newest version."""

    @property
    def counts(self) -> dict[str, int]:
        """Samples by split, before any is read."""
        found = np.bincount(self.samples.split, minlength=len(SPLITS)).tolist()
        return dict(zip(SPLITS, found, strict=True))

    def why(self) -> str:
        """Why the shards must be built, or built on; empty where they are up to date."""
        if self.past.shards is None:
            return f"no finished shards there; the raw files make {self._found()}"
        suspects = len(self.matched.suspects)
        known = self.past.signed or not suspects
        facts = [
            (len(self.lost), "shards are missing or cut short"),
            (self.left, "files of an attempt that died are to be removed"),
            (suspects, "samples have to be read to tell whether they changed"),
            *(self._changes() if known else ()),
        ]
        said = [f"{count:,} {what}" for count, what in facts if count]
        if self.past.shards.unread != commits.unread(self.samples.refused):
            said.append("other files than before make no sample")
        if self.past.shards.several != self.samples.several:
            said.append("the label table gives several labels now, or one again")
        return ", ".join(said)

    def _found(self) -> str:
        splits = ", ".join(f"{split} {count:,}" for split, count in self.counts.items())
        return f"{len(self.samples):,} samples of {len(self.samples.classes()):,} classes ({splits})"

    def _changes(self) -> list[tuple[int, str]]:
        """How many samples came, changed and went; together where it would take long to tell them apart."""
        unknown, left = self.matched.changes(len(self.past.shard))
        if not unknown or not left:
            return [(unknown, "samples are new"), (left, "samples are gone")]
        if max(unknown, left) > TOLD_APART:
            return [(unknown, "samples are new or changed"), (left, "samples are gone or changed")]
        there = {path for paths in self.samples.paths(self.matched.unknown) for path in paths}
        changed = sum(source in there for source in self.past.gone(self.matched))
        return [
            (unknown - changed, "samples are new"),
            (changed, "samples changed"),
            (left - changed, "samples are gone"),
        ]


def shard(
    settings: DataSettings, place: str, progress: Progress, sealing: commits.Check = commits.unchecked
) -> tuple[Shards, bool]:
    """Build what is missing for the raw files as they are now, or find that nothing is (True).

    Ray must be initialised by the caller. Shards that a dead attempt finished are kept. `sealing` is called
    right before the manifest is written, and may raise: a bucket has no lock that keeps other writers out.

    Raises:
        UserError: as `check` does, or more files were refused than `settings.max_refused` allows.
    """
    with ThreadPoolExecutor(1) as pool:
        pool.submit(warm)
        return shard_with(on_ray, settings, place, progress, sealing)


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


def shard_with(
    spread: Spread,
    settings: DataSettings,
    place: str,
    progress: Progress,
    sealing: commits.Check = commits.unchecked,
) -> tuple[Shards, bool]:
    """`shard`, with what does the tasks handed in."""
    refuse_nested(settings, place)
    home = store(place)
    with home.sole_writer():  # From the survey on: the version that it sees is the one to build on.
        survey, _ = check(settings, place)
        if survey is None:
            return Shards.open(place), True
        return build_on(spread, survey, settings, home, progress, sealing)


def build_on(
    spread: Spread,
    survey: Survey,
    settings: DataSettings,
    home: Store,
    progress: Progress,
    sealing: commits.Check,
) -> tuple[Shards, bool]:
    """Build what the survey found to be missing, and publish it."""
    past, samples = survey.past, survey.samples
    matched = settle(survey.matched, past, partial(keys, spread, settings, samples))
    again = rebuildable(past, matched, survey.lost, decoders(settings))
    matched = given_up(matched, past, survey.lost - {one.name for one in again})
    planned = plan(samples, settings, past, matched, again)
    sweep(home, past.shards, {one.name for one in planned.all})
    build(spread, planned, settings, home, progress)
    with undisturbed(home.place):
        commits.prove(home, planned, past)
        gathered = gather(home, planned, past, matched)
    judge(gathered, settings, home)
    if past.shards and same(gathered, samples, past, matched):
        sealing()
        commits.note_again(home, past.shards, gathered)
        return past.shards, not planned.lost
    with undisturbed(home.place):
        return commits.commit(home, planned, past, matched, gathered, sealing), False


def check(settings: DataSettings, place: str) -> tuple[Survey | None, str]:
    """What has to be done, or None where the shards are up to date, and why; reads no raw file.

    Raises:
        UserError: the raw files cannot be used, or the shards at `place` were made with other settings.
    """
    refuse_nested(settings, place)
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
        left=sum(1 for _ in leftovers(home, present, set())) if present else 0,
    )
    why = survey.why()
    return (survey, why) if why else (None, "up to date")


def inventory_of(settings: DataSettings) -> Inventory:
    """What the raw folder or bucket holds."""
    try:
        return take(raw(settings.raw).entries(), settings.modalities, tabled=bool(settings.labels))
    except OSError as error:
        raise UserError(f"{error.filename} cannot be listed: {error.strerror}. Make it readable.") from error


def build(spread: Spread, planned: Plan, settings: DataSettings, home: Store, progress: Progress) -> None:
    """Let tasks build what no earlier attempt has finished."""
    total = sum(len(one.members) for one in planned.all)
    todo = commits.unfinished(home, planned, settings)
    done = total - sum(len(one.members) for one in todo)
    progress(done, total)
    task = partial(build_named, settings=placed(settings), place=home.place)
    for result in spread(task, [one.name for one in todo]):
        done += result["planned"]
        progress(done, total)


def placed(settings: DataSettings) -> DataSettings:
    """The same settings for tasks, which run in other folders."""
    return replace(settings, raw=absolute(settings.raw))


def build_named(name: str, *, settings: DataSettings, place: str) -> dict[str, Any]:
    """Build the shard whose plan lies at the place, unless an earlier try of this task has."""
    home = store(place)
    with undisturbed(place):
        text = home.read(plan_name(name))
        if (sidecar := finished(home, name, text, settings)) is not None:
            return {"planned": len(sidecar["keys"]), "refused": len(sidecar["refused"])}
        return build_isolated(Work.of(text), settings, place)


def keys(spread: Spread, settings: DataSettings, samples: Samples, members: NDArray[np.int64]) -> list[str]:
    """The keys of these samples, from their files' content."""
    parts = [members[at : at + HASHED_AT_ONCE] for at in range(0, len(members), HASHED_AT_ONCE)]
    texts = [
        Work(name=str(number), split="", samples=tuple(samples.take(part))).text().decode()
        for number, part in enumerate(parts)
    ]
    found = {
        int(one["name"]): one["keys"] for one in spread(partial(keys_named, settings=placed(settings)), texts)
    }
    return [key for number in range(len(parts)) for key in found[number]]


def keys_named(text: str, *, settings: DataSettings) -> dict[str, Any]:
    """The keys of some samples."""
    work, decoding = Work.of(text.encode()), Decoding(settings)
    return {"name": work.name, "keys": [key_of(sample, decoding) for sample in work.samples]}


def on_ray(task: Task, texts: list[str], rows_a_block: int = 1) -> Iterator[dict[str, Any]]:
    """Each text a row of Ray Data, and each block of rows a task; the results as they come."""
    if not texts:
        return
    import ray

    ray.data.DataContext.get_current().enable_progress_bars = False
    blocks = -(-len(texts) // rows_a_block)
    rows = ray.data.from_items([{"text": text} for text in texts], override_num_blocks=blocks)
    # Ray Data does a task that dies with its worker or node again, however often. Three tasks on two cores:
    # it takes 0.15 s to see that one has ended, and writing and uploading wait too.
    results = rows.map(do, fn_args=(task,), num_cpus=0.67)  # pyright: ignore[reportArgumentType]
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # Ray sets it when the dataset is made.
    for row in results.iter_rows():
        if row["mistake"]:
            raise (AwayError if row["away"] else UserError)(row["mistake"])
        yield json.loads(row["result"])


def do(row: dict[str, Any], task: Task) -> dict[str, Any]:
    """One row; a user's mistake is a result, as Ray keeps no exception's type."""
    try:
        return {"result": json.dumps(task(row["text"])), "mistake": "", "away": False}
    except UserError as mistake:
        return {"result": "", "mistake": str(mistake), "away": isinstance(mistake, AwayError)}
