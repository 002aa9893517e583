"""What will be built, before anything is: which sample goes into which shard, under which name.

A pure function of the samples, the settings and the version before; times of change and the raw folder's own
place do not enter the plan's hash, so the same files give the same plan on every machine.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.table import DECODERS
from preprocessing.history import Match, Past
from preprocessing.samples import Part, Sample, Samples
from preprocessing.settings import SPLITS, DataSettings, stored
from preprocessing.shards import FORMAT


@dataclass(frozen=True, kw_only=True)
class Work:
    """One shard: what a task builds. Its text is the file that the task reads."""

    name: str
    """The shard's name, without an ending."""
    split: str
    samples: tuple[Sample, ...]

    def text(self) -> bytes:
        """Everything as JSON; the bytes of names that are no UTF-8 are kept."""
        # asdict copies all of it first, at twice the time of the JSON itself.
        samples = [
            {"identity": one.identity, "label": one.label, "extras": one.extras, "parts": [
                {"modality": part.modality, "path": part.path, "size": part.size, "stamp": part.stamp}
                for part in one.parts
            ]}
            for one in self.samples
        ]  # fmt: skip
        return json.dumps({"name": self.name, "split": self.split, "samples": samples}).encode()

    @classmethod
    def of(cls, text: bytes) -> "Work":
        """The work that a text describes."""
        work = json.loads(text)
        samples = tuple(
            Sample(one["identity"], one["label"], tuple(Part(**part) for part in one["parts"]), one["extras"])
            for one in work["samples"]
        )
        return cls(name=work["name"], split=work["split"], samples=samples)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One shard of the plan: which samples, not yet as objects."""

    name: str
    split: str
    members: NDArray[np.int64]
    """Places of its samples in Samples."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All shards that have to be built for the next version."""

    samples: Samples
    generation: int
    hash: str
    """Stands for all of it in the names of the new shards."""
    stored: dict[str, Any]
    """The settings that decide what is stored."""
    decoders: dict[str, str]
    """Decoder and versions by modality."""
    new: tuple[Planned, ...]
    """Shards of new and changed samples."""
    lost: tuple[Planned, ...]
    """Shards of earlier generations that are gone or cut short, and can be built again."""

    @property
    def all(self) -> tuple[Planned, ...]:
        """Everything to build."""
        return self.lost + self.new

    def work(self, planned: Planned) -> Work:
        """One shard as its task gets it."""
        samples = tuple(self.samples.take(planned.members))
        return Work(name=planned.name, split=planned.split, samples=samples)

    def works(self) -> Iterator[Work]:
        """Every shard as its task gets it, one at a time in memory."""
        return map(self.work, self.all)


def plan(
    samples: Samples, settings: DataSettings, past: Past, matched: Match, again: tuple[Planned, ...]
) -> Plan:
    """Sort and cut what is new; `again` are lost shards that are built once more."""
    kept = stored(settings)
    versions = decoders(settings)
    generation = past.shards.number + 1 if past.shards else 0
    parent = past.shards.digest if past.shards else ""
    members = np.flatnonzero(matched.row < 0)
    members = members[np.argsort(samples.order[members], kind="stable")]
    fresh = {split: members[samples.split[members] == at] for at, split in enumerate(SPLITS)}
    name = plan_hash(samples, fresh, [FORMAT, generation, parent, kept, versions])
    new = [
        Planned(name=f"{split}-g{generation:04d}-{at // settings.shard_size:05d}-{name}", split=split,
                members=members[at : at + settings.shard_size])
        for split, members in fresh.items()
        for at in range(0, len(members), settings.shard_size)
    ]  # fmt: skip
    return Plan(
        samples=samples, generation=generation, hash=name, stored=kept, decoders=versions,
        new=tuple(new), lost=again,
    )  # fmt: skip


def decoders(settings: DataSettings) -> dict[str, str]:
    """Decoder and versions by modality."""
    return {modality: DECODERS[modality].name() for modality in settings.modalities}


def rebuildable(
    past: Past, matched: Match, lost: frozenset[str], versions: dict[str, str]
) -> tuple[Planned, ...]:
    """Lost shards all of whose samples are still there, unchanged, and whose decoders are still these."""
    sample, accepted = matched.sample(len(past.shard)), past.accepted()
    other = {
        tar.name
        for one in (past.shards.generations if past.shards else ())
        for tar in one.tars
        if tar.removed or one.decoders != versions
    }
    found: list[Planned] = []
    for at, name in enumerate(past.names):
        if name in lost and f"{name}.tar" not in other:
            members = sample[(past.shard == at) & accepted]
            if (members >= 0).all():
                found.append(Planned(name=name, split=name.partition("-")[0], members=members))
    return tuple(found)


def plan_hash(samples: Samples, fresh: dict[str, NDArray[np.int64]], head: list[Any]) -> str:
    """Twelve hex digits that change with any sample, size, label, stored setting, decoder or past."""
    whole = hashlib.sha256(json.dumps(head, sort_keys=True).encode())
    for split, members in fresh.items():
        whole.update(f"{split} {len(members)}".encode())
        whole.update(samples.signature[members].tobytes())
    return whole.hexdigest()[:12]
