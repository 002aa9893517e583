"""Samples drawn from an inventory: files joined by path, each with its label and its split."""

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from preprocessing.columns import Columns, compute, rows
from preprocessing.decoders.table import CLIPS, DECODERS
from preprocessing.inventory import REFUSED, Inventory, printable
from preprocessing.labels import Labels
from preprocessing.refusal import Reason
from preprocessing.samples import SIGNATURE, Samples, digest
from preprocessing.settings import SPLITS, DataSettings, Modality


class File(NamedTuple):
    """A row of the inventory."""

    row: int
    stem: bytes
    ending: bytes
    size: int
    stamp: int

    @property
    def path(self) -> str:
        return os.fsdecode(self.stem + self.ending)

    @property
    def suffix(self) -> str:
        return self.ending.decode(errors="replace").lower()


def draw(inventory: Inventory, labels: Labels | None, settings: DataSettings) -> Samples:
    """Join the files, find each sample's label, and draw its split."""
    drawing = Drawing(inventory, labels, settings)
    for stem, members in grouped(inventory.files):
        drawing.add(stem, members)
    return drawing.samples()


def grouped(files: pa.Table) -> Iterator[tuple[bytes, list[File]]]:
    """The files of each path without extension."""
    members: list[File] = []
    for row, file in enumerate(map(File._make, ((0, *row) for row in rows(files)))):
        if members and members[0].stem != file.stem:
            yield members[0].stem, members
            members = []
        members.append(file._replace(row=row))
    if members:
        yield members[0].stem, members


class Drawing:
    """Samples in the making."""

    def __init__(self, inventory: Inventory, labels: Labels | None, settings: DataSettings) -> None:
        self.inventory, self.labels, self.settings = inventory, labels, settings
        self.noted_of = labels.rows_of(inventory.files["stem"]) if labels else None
        self.names: dict[str, int] = {}
        self.rows, self.label, self.split, self.order = array("q"), array("i"), bytearray(), array("Q")
        self.signature, self.stamp, self.noted = bytearray(), array("q"), array("q")
        self.refused = Columns(REFUSED)

    def add(self, stem: bytes, files: list[File]) -> None:
        """Make the files of one stem samples, or refuse them."""
        noted = -1 if self.noted_of is None else int(self.noted_of[files[0].row])
        if self.labels and noted < 0:
            for file in files:
                self.refuse(file, "unlabelled", "the label table does not name it", False)
        elif len(self.settings.modalities) == 1 and len(files) == 1:
            self.keep(stem, files, noted)
        else:
            self.join(stem, files, noted)

    def join(self, stem: bytes, files: list[File], noted: int) -> None:
        """One sample of all modalities.

        With one modality every file is a sample of its own, `twin.jpg` beside `twin.png` too (both in one
        split, as they share an identity); with several, two files of one modality are ambiguous.
        """
        offers: dict[Modality, list[File]] = {one: offered(files, one) for one in self.settings.modalities}
        used = {file.ending for offer in offers.values() for file in offer}
        for file in files:
            if file.ending not in used:
                self.refuse(file, "not_asked", "a sound file of the same name serves", False)
        if len(offers) == 1:
            for file in offers[self.settings.modalities[0]]:
                self.keep(stem, [file], noted)
        elif all(len(offer) == 1 for offer in offers.values()):
            self.keep(stem, [offer[0] for offer in offers.values()], noted)
        else:
            self.refuse_unjoined(offers)

    def keep(self, stem: bytes, files: list[File], noted: int) -> None:
        """Append one sample: a file for each modality, one file twice where it holds two."""
        label, given, extras = self.called(stem, noted)
        said = [given, label, extras]
        for modality, file in zip(self.settings.modalities, files, strict=True):
            self.rows.append(file.row)
            said.append(f"{modality} {file.size} ".encode() + file.stem + file.ending)
        self.label.append(self.names.setdefault(label.decode(), len(self.names)))
        self.split.append(self.split_of(stem, given))
        self.order.append(int.from_bytes(digest("order", stem)[:8], "big"))
        self.signature += hashlib.sha256(b"\0".join(said)).digest()[:SIGNATURE]
        self.stamp.append(files[0].stamp if len(files) == 1 else mixed([file.stamp for file in files]))
        self.noted.append(noted)

    def called(self, stem: bytes, noted: int) -> tuple[bytes, bytes, bytes]:
        """Label, the split that the table gives, and the extras, as text."""
        if self.labels is None:
            label = stem.split(b"/", 2)[1 if self.inventory.splits else 0]
            return printable(os.fsdecode(label)).encode(), b"", b""
        extras = json.dumps(self.labels.extra(noted), sort_keys=True).encode()
        name, split = self.labels.names[noted].as_py(), self.labels.splits[noted].as_py()
        return name.encode(), split.encode(), extras

    def split_of(self, stem: bytes, given: bytes) -> int:
        """Its place in SPLITS; a share of train, or of all, is drawn for each folder that is not there."""
        top = given or stem.partition(b"/")[0]
        folders = self.inventory.splits
        folder = top.decode(errors="replace") if given or folders else "train"
        if given or folder in ("val", "test"):
            return SPLITS.index(folder)  # pyright: ignore[reportArgumentType]
        share = int.from_bytes(digest("split", stem)[:8], "big") / 2**64
        test = 0.0 if "test" in folders else self.settings.test
        val = 0.0 if "val" in folders else self.settings.val
        return SPLITS.index("test" if share < test else "val" if share < test + val else "train")

    def refuse(self, file: File, reason: Reason, detail: str, counts: bool, modality: str = "") -> None:
        """A file that makes no sample."""
        self.refused.add(printable(file.path), modality, reason, detail, counts)

    def refuse_unjoined(self, offers: Mapping[Modality, list[File]]) -> None:
        """Why the files of one stem make no sample of all modalities."""
        missing = [modality for modality, offer in offers.items() if not offer]
        twice = [modality for modality, offer in offers.items() if len(offer) > 1]
        reason: Reason = "incomplete" if missing else "ambiguous"
        detail = f"no {', '.join(missing)} of that name" if missing else f"several of {', '.join(twice)}"
        files = {file.ending: (file, modality) for modality, offer in offers.items() for file in offer}
        for file, modality in files.values():
            self.refuse(file, reason, detail, True, modality)

    def refuse_missing(self) -> int:
        """Rows of the table that name no file."""
        if self.labels is None:
            return 0
        there = compute.is_in(self.labels.stems, value_set=self.inventory.files["stem"])
        missing = self.labels.stems.filter(compute.invert(there)).to_pylist()
        for stem in missing:
            source = printable(os.fsdecode(stem))
            self.refused.add(
                source, "", "missing", "the label table names it and no file of it is there", True
            )
        return len(missing)

    def samples(self) -> Samples:
        """All of them."""
        count, modalities = len(self.stamp), self.settings.modalities
        missing = self.refuse_missing()
        refused = pa.concat_tables([self.inventory.refused, self.refused.table()])
        return Samples(
            files=self.inventory.files,
            labels=self.labels,
            names=tuple(self.names),
            modalities=modalities,
            rows=np.frombuffer(self.rows, np.int64).reshape(count, len(modalities)),
            label=np.frombuffer(self.label, np.int32),
            split=np.frombuffer(self.split, np.int8),
            order=np.frombuffer(self.order, np.uint64),
            signature=np.frombuffer(self.signature, f"V{SIGNATURE}"),
            stamp=np.frombuffer(self.stamp, np.int64),
            noted=np.frombuffer(self.noted, np.int64),
            refused=refused.sort_by("source"),
            found=self.inventory.found + missing,
        )


def offered(files: list[File], modality: Modality) -> list[File]:
    """The files of one stem that hold the modality; a clip's sound only where no sound file does."""
    found = [file for file in files if file.suffix in DECODERS[modality].suffixes]
    if modality == "audio":
        return [file for file in found if file.suffix not in CLIPS] or found
    return found


def mixed(stamps: Sequence[int]) -> int:
    """One stamp for several files."""
    return int.from_bytes(hashlib.sha256(repr(stamps).encode()).digest()[:8], "big", signed=True)
