"""One checkpoint: tensors as safetensors, the rest as JSON, and a seal that holds the sha256 of all of it.

Nothing in it can run code: what is read is JSON and safetensors, and that only where its sha256 is the sealed
one.
"""

import hashlib
import json
import re
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from safetensors import SafetensorError
from torch import Tensor

from cluster.mistake import UserError
from cluster.storage import Store, is_bucket, whole_file, write_whole
from pipelines.training.tensor_files import Sum, pieces_of, pour, read, sum_of

STATE = "state.json"
"""The seal."""
WEIGHTS = "model.safetensors"
"""What is evaluated and registered."""
FILE = re.compile(r"[\w-]+\.safetensors")

NAME = re.compile(r"step-(\d{8,})-a(\d{4,})")
FORMER = re.compile(r"step-\d{8,}")
"""Names of an earlier format, which knew no attempts."""


class TornError(UserError):
    """A checkpoint is not what was sealed."""

    def __init__(self, place: str, what: str) -> None:
        super().__init__(place, what)
        self.place, self.what = place, what

    def __str__(self) -> str:
        return f"{self.place}: {self.what}. Delete it and run again: training goes on from the one before."

    @property
    def short(self) -> str:
        """Which checkpoint, which file, and what differs."""
        return f"{self.place.rpartition('/')[2]}: {self.what}"


def name_of(step: int, attempt: int) -> str:
    """The name of a checkpoint."""
    return f"step-{step:08d}-a{attempt:04d}"


def is_name(name: str) -> bool:
    """Whether a checkpoint may be called so.

    Raises:
        UserError: one of an earlier format is.
    """
    if FORMER.fullmatch(name):
        raise UserError(
            f"{name} is a checkpoint in the format of an earlier version, which cannot be read any more. End "
            f"that training with that version, or delete it and train anew."
        )
    return bool(NAME.fullmatch(name))


def numbers(name: str) -> tuple[int, int]:
    """Step and attempt of a checkpoint: in their order one is newer than another.

    Raises:
        UserError: it is no name of a checkpoint, or one of an earlier format.
    """
    found = NAME.fullmatch(name) if is_name(name) else None
    if found is None:
        raise UserError(f"{name} is no name of a checkpoint; they are called like {name_of(120, 1)}.")
    return int(found[1]), int(found[2])


def completed(step: int, attempt: int, sums: Mapping[str, Sum], record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a checkpoint with what it says of itself, as it will be read.

    Raises:
        TypeError: it holds what JSON cannot.
    """
    return json.loads(
        json.dumps(
            {
                **record,
                "step": step,
                "attempt": attempt,
                "files": {name: one.sha256 for name, one in sums.items()},
                "sizes": {name: one.bytes for name, one in sums.items()},
            }
        )
    )


def as_seal(record: Mapping[str, Any]) -> bytes:
    """The record as it is written, with its own sha256."""
    return json.dumps({**record, "seal": _digest(record)}, indent=1, sort_keys=True).encode()


def from_seal(data: bytes) -> dict[str, Any]:
    """The record again.

    Raises:
        ValueError: it is not what was written.
    """
    try:
        record = json.loads(data)
        whole = record.pop("seal") == _digest(record) and {*record["files"]} == {*record["sizes"]}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"is no seal ({type(error).__name__}: {error})") from error
    if not whole or not all(map(FILE.fullmatch, record["files"])):
        raise ValueError("is not what was written")
    return record


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A sealed checkpoint."""

    home: Store
    """Where its files are."""
    name: str
    """Its name below the place of the training's checkpoints."""
    step: int
    attempt: int
    record: Mapping[str, Any]
    """All that is not a tensor. `files` holds the sha256 of each file, `sizes` its bytes."""

    @classmethod
    def open(cls, home: Store, name: str) -> "Checkpoint":
        """The checkpoint whose files are in `home`; its seal is read, its tensors not yet.

        Raises:
            TornError: there is no whole seal.
        """
        step, attempt = numbers(name)
        try:
            record = from_seal(home.read(STATE))
        except FileNotFoundError:
            raise TornError(home.place, f"{STATE} is missing") from None
        except ValueError as error:
            raise TornError(home.place, f"{STATE} {error}") from error
        if (record["step"], record["attempt"]) != (step, attempt):
            raise TornError(home.place, f"{STATE} belongs to another checkpoint")
        return cls(home=home, name=name, step=step, attempt=attempt, record=record)

    @property
    def weights(self) -> str:
        """sha256 of the weights that are evaluated and registered."""
        return self.record["files"][WEIGHTS]

    @property
    def groups(self) -> list[str]:
        """What `tensors` knows."""
        return [name.removesuffix(".safetensors") for name in self.record["files"]]

    def tensors(self, group: str) -> dict[str, Tensor]:
        """The tensors of a group ("model", "optimizer", ...), on the CPU.

        Raises:
            TornError: they are not what was sealed.
        """
        name = f"{group}.safetensors"
        with self._local(name) as path:
            try:
                return read(path)
            except SafetensorError as error:
                raise TornError(self.home.place, f"{name} is no safetensors file ({error})") from error

    def verify(self) -> None:
        """Read all of it.

        Raises:
            TornError: a file is not what was sealed.
        """
        for name, size in self.record["sizes"].items():
            # First what costs nothing to find out.
            self._compare(name, Sum(self.home.size(name), ""), Sum(size, ""))
        for name in self.record["files"]:
            with self._reading(name) as file:
                self._compare(name, sum_of(file), self._sealed(name))

    def fetched(self, folder: Path) -> Path:
        """A local folder with the weights and the seal: its own, or a verified copy below `folder`.

        Raises:
            TornError: the weights are not what was sealed.
        """
        if not is_bucket(self.home.place):
            with self._local(WEIGHTS) as path:
                return path.parent
        place = folder / self.name
        place.mkdir(parents=True, exist_ok=True)
        self._copy(WEIGHTS, place / WEIGHTS)
        write_whole(place / STATE, as_seal(self.record))
        return place

    @contextmanager
    def _local(self, name: str) -> Generator[Path]:
        """A path to a file that is what was sealed."""
        if not is_bucket(self.home.place):
            with self._reading(name) as file:
                self._compare(name, sum_of(file), self._sealed(name))
            yield Path(self.home.place, name)
            return
        with tempfile.TemporaryDirectory() as scratch:
            self._copy(name, Path(scratch, name))
            yield Path(scratch, name)

    def _copy(self, name: str, path: Path) -> None:
        """Bring a file of a bucket here, unless it is."""
        if path.exists():
            with path.open("rb") as file:
                if sum_of(file) == self._sealed(name):
                    return
        with self._reading(name) as file, whole_file(path) as copy:
            self._compare(name, pour(pieces_of(file), copy.write), self._sealed(name))

    @contextmanager
    def _reading(self, name: str) -> Generator[BinaryIO]:
        try:
            with self.home.reading(name) as file:
                yield file
        except FileNotFoundError:
            raise TornError(self.home.place, f"{name} is missing") from None

    def _sealed(self, name: str) -> Sum:
        return Sum(self.record["sizes"][name], self.record["files"][name])

    def _compare(self, name: str, found: Sum, sealed: Sum) -> None:
        if found == sealed:
            return
        if found.bytes < 0:
            what = "is missing"
        elif found.bytes != sealed.bytes:
            what = f"has {found.bytes:,} bytes, {sealed.bytes:,} were written"
        else:
            what = "is not what was written: its sha256 differs"
        raise TornError(self.home.place, f"{name} {what}")


def _digest(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
