"""What will be built, before anything is: which sample goes into which shard, under which name.

A pure function of the inventory and the settings; times of change and the raw folder's own place do not
enter the plan's hash, so the same files give the same plan on every machine.
"""

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from preprocessing.decoders.table import CLIPS, DECODERS
from preprocessing.inventory import File, Inventory, printable
from preprocessing.refusal import Reason, Refusal
from preprocessing.settings import SPLITS, DataSettings, Modality, stored

FORMAT = 1
GENERATION = 0


@dataclass(frozen=True, slots=True)
class Part:
    """One modality of a sample, and the file that holds it."""

    modality: Modality
    path: str
    size: int
    mtime: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One planned sample."""

    identity: str
    """The path below the raw folder without its extension; never moves when files are added."""
    label: str
    """Class folder."""
    parts: tuple[Part, ...]
    """One per modality, in the order of data.modalities."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One shard: what a task builds."""

    name: str
    """The shard's name, without an ending."""
    split: str
    samples: tuple[Sample, ...]

    def token(self) -> str:
        """Recognises the raw files this shard is built from, by size and time of change."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All shards of one generation, and what was refused before any file was opened."""

    inventory: Inventory
    stored: dict[str, Any]
    """The settings that decide what is stored."""
    decoders: dict[str, str]
    """Decoder and versions by modality."""
    classes: tuple[str, ...]
    """Class folders, ordered."""
    hash: str
    """Stands for all of it in the names of the shards."""
    works: tuple[Work, ...]
    refused: tuple[Refusal, ...]


def plan(inventory: Inventory, settings: DataSettings) -> Plan:
    """Join, draw, sort and cut."""
    samples, refused = join(inventory.files, settings.modalities)
    kept = stored(settings)
    decoders = {modality: DECODERS[modality].name() for modality in settings.modalities}
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for sample in samples:
        splits[split_of(sample, inventory.splits, settings)].append(sample)
    for members in splits.values():
        members.sort(key=lambda sample: (digest("order", sample.identity), first_path(sample)))
    name = plan_hash(splits, kept, decoders)
    works = [
        Work(name=f"{split}-g{GENERATION:04d}-{start // settings.shard_size:05d}-{name}", split=split,
             samples=tuple(members[start : start + settings.shard_size]))
        for split, members in splits.items()
        for start in range(0, len(members), settings.shard_size)
    ]  # fmt: skip
    return Plan(
        inventory=inventory,
        stored=kept,
        decoders=decoders,
        classes=tuple(sorted({printable(sample.label) for sample in samples})),
        hash=name,
        works=tuple(works),
        refused=inventory.refused + tuple(refused),
    )


def join(files: Iterable[File], modalities: tuple[Modality, ...]) -> tuple[list[Sample], list[Refusal]]:
    """Samples from files that share a path without extension, and the files that make none.

    With one modality every file is a sample of its own, `twin.jpg` beside `twin.png` too (both in one
    split, as they share an identity); with several, two files of one modality are ambiguous.
    """
    stems: dict[str, list[File]] = defaultdict(list)
    for file in files:
        stems[file.stem].append(file)
    samples: list[Sample] = []
    refused: list[Refusal] = []
    for stem, members in stems.items():
        offers: dict[Modality, list[File]] = {one: offered(members, one) for one in modalities}
        used = {file.path for offer in offers.values() for file in offer}
        refused += [refusal(file, "not_asked", "a sound file of the same name serves", False)
                    for file in members if file.path not in used]  # fmt: skip
        if len(modalities) == 1:
            only = modalities[0]
            samples += [Sample(stem, file.label, (part(only, file),)) for file in offers[only]]
        elif all(len(offer) == 1 for offer in offers.values()):
            parts = tuple(part(modality, offer[0]) for modality, offer in offers.items())
            samples.append(Sample(stem, members[0].label, parts))
        else:
            refused += unjoined(offers)
    return samples, refused


def offered(members: list[File], modality: Modality) -> list[File]:
    """The files of one stem that hold the modality; a clip's sound only where no sound file does."""
    files = [file for file in members if file.suffix in DECODERS[modality].suffixes]
    if modality == "audio":
        return [file for file in files if file.suffix not in CLIPS] or files
    return files


def unjoined(offers: dict[Modality, list[File]]) -> list[Refusal]:
    """Why the files of one stem make no sample of all modalities."""
    missing = [modality for modality, offer in offers.items() if not offer]
    twice = [modality for modality, offer in offers.items() if len(offer) > 1]
    reason: Reason = "incomplete" if missing else "ambiguous"
    detail = f"no {', '.join(missing)} of that name" if missing else f"several of {', '.join(twice)}"
    files = {file.path: (file, modality) for modality, offer in offers.items() for file in offer}
    return [refusal(file, reason, detail, True, modality) for file, modality in files.values()]


def refusal(file: File, reason: Reason, detail: str, counts: bool, modality: str = "") -> Refusal:
    """One row of the quarantine."""
    source = printable(file.path)
    return Refusal(source=source, modality=modality, reason=reason, detail=detail, counts=counts)


def part(modality: Modality, file: File) -> Part:
    """The file as one modality of a sample."""
    return Part(modality, file.path, file.size, file.mtime)


def first_path(sample: Sample) -> bytes:
    """Tells apart samples that share an identity."""
    return os.fsencode(sample.parts[0].path)


def split_of(sample: Sample, folders: tuple[str, ...], settings: DataSettings) -> str:
    """The split folder; a share of train, or of everything, is drawn for each folder that is not there."""
    folder = sample.identity.split("/", 1)[0] if folders else "train"
    if folder != "train":
        return folder
    share = int.from_bytes(digest("split", sample.identity)[:8], "big") / 2**64
    test = 0.0 if "test" in folders else settings.test
    val = 0.0 if "val" in folders else settings.val
    return "test" if share < test else "val" if share < test + val else "train"


def plan_hash(splits: dict[str, list[Sample]], kept: dict[str, Any], decoders: dict[str, str]) -> str:
    """Twelve hex digits that change with any sample, size, stored setting or decoder."""
    whole = hashlib.sha256(json.dumps([FORMAT, GENERATION, kept, decoders], sort_keys=True).encode())
    for split, members in splits.items():
        for sample in members:
            parts = [[part.modality, part.path, part.size] for part in sample.parts]
            whole.update(json.dumps([split, sample.identity, sample.label, parts]).encode())
    return whole.hexdigest()[:12]


def digest(purpose: str, identity: str) -> bytes:
    """The same bytes for the same identity for all time, others for every purpose."""
    return hashlib.sha256(purpose.encode() + b"\0" + os.fsencode(identity)).digest()
