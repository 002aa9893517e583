"""The checkpoints of one training, in a folder or a bucket: each is there whole, or not at all.

    <place>/claims/...                          one small file an attempt
    <place>/step-00000120-a0003/*.safetensors   the tensors of step 120, saved by attempt 3
    <place>/step-00000120-a0003/state.json      the rest and the sha256 of all; written last: the seal

A checkpoint exists exactly when its seal does. Each attempt writes names of its own only, so that two which
are at work at once never mix their files. Before it seals, an attempt looks whether a newer one has claimed
the place, and stops if so. One that freezes between this look and the seal leaves a checkpoint when it thaws:
of its own steps, whole or torn, and removed when the newer attempt saves an earlier step.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from cluster.storage import Store, untouched
from pipelines.attempts import Attempts, OvertakenError
from pipelines.training.sealed import (
    STATE,
    Checkpoint,
    TornError,
    as_seal,
    completed,
    is_name,
    name_of,
    numbers,
)
from pipelines.training.tensor_files import Sum, write

__all__ = ["Checkpoint", "Checkpoints", "OvertakenError", "TornError"]

PREFIX = "step-"
Tensors = Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints at one place."""

    home: Store
    whole: set[str] = field(default_factory=set[str], compare=False, repr=False)
    """Names of those that this process has written or read in full."""

    @classmethod
    def at(cls, place: str) -> "Checkpoints":
        """Those in a folder or below `s3://bucket/prefix`; nothing is made before something is saved.

        Raises:
            UserError: a URI of another kind.
        """
        return cls(untouched(place))

    @property
    def attempts(self) -> Attempts:
        """Who works on this training."""
        return Attempts(self.home.below("claims"))

    def claim(self) -> int:
        """The number of a new attempt, greater than every earlier one's, which from now on are overtaken."""
        return self.attempts.claim()

    def refuse_overtaken(self, attempt: int) -> None:
        """Stop an attempt that is no longer the newest.

        Raises:
            OvertakenError: it is not.
        """
        self.attempts.refuse_overtaken(attempt)

    def sealed(self) -> list[str]:
        """The names of all checkpoints, the newest first.

        Raises:
            UserError: one is of an earlier format.
        """
        return [name for name, files in self._folders().items() if STATE in files]

    def holds(self, name: str) -> bool:
        """Whether there is a checkpoint of that name."""
        return self.home.size(f"{name}/{STATE}") >= 0

    def open(self, name: str) -> Checkpoint:
        """The checkpoint of that name; its seal is read, its tensors are when they are asked for.

        Raises:
            TornError: it has no whole seal.
            UserError: it is of an earlier format.
        """
        return Checkpoint.open(self.home.below(name), name)

    def newest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, read in full; and what was wrong with newer ones, in words.

        Raises:
            UserError: one is of an earlier format.
        """
        torn: list[str] = []
        names = self.sealed()
        while names:
            name = names.pop(0)
            try:
                return self._verified(name), torn
            except TornError as error:
                if self.holds(name):
                    torn.append(error.short)
                else:
                    # It went while it was read: an attempt at work has saved newer ones.
                    torn, names = [], self.sealed()
        return None, torn

    def whole_ones(self) -> Iterator[Checkpoint]:
        """All checkpoints that are whole, the newest first, each read in full."""
        for name in self.sealed():
            with suppress(TornError):
                yield self._verified(name)

    def save(self, attempt: int, step: int, tensors: Tensors, record: Mapping[str, Any]) -> Checkpoint:
        """Seal a checkpoint, and remove those that are no longer needed.

        Raises:
            OvertakenError: a newer attempt has begun; nothing is sealed.
        """
        checkpoint = self.seal(attempt, step, tensors, record)
        self.retain(checkpoint)
        return checkpoint

    def seal(self, attempt: int, step: int, tensors: Tensors, record: Mapping[str, Any]) -> Checkpoint:
        """Write a checkpoint's files, then its seal: when this returns, it cannot be lost any more.

        One that this attempt has sealed already stays as it is. Of one that fails nothing is left.

        Raises:
            OvertakenError: a newer attempt has begun; nothing is sealed.
        """
        self.refuse_overtaken(attempt)
        name = name_of(step, attempt)
        if self.holds(name):
            return self.open(name)
        self._sweep(attempt)
        home = self.home.below(name)
        try:
            sums = {f"{group}.safetensors": _put(home, group, tensors[group]) for group in sorted(tensors)}
            complete = completed(step, attempt, sums, record)
            self.refuse_overtaken(attempt)
            home.write(STATE, as_seal(complete))
        except Exception:
            # It may take the room that the next one needs. Once overtaken we touch nothing: if the seal is
            # there after all, the newer attempt may be reading it.
            with suppress(Exception):
                self.refuse_overtaken(attempt)
                self._remove(name)
            raise
        self.whole.add(name)
        return Checkpoint(home=home, name=name, step=step, attempt=attempt, record=complete)

    def retain(self, newest: Checkpoint) -> None:
        """Keep a checkpoint that was just sealed and the whole one before it.

        All else of its attempt and of older ones goes: what is older, torn, or never sealed, and later steps
        of attempts that were overtaken. What newer attempts have there stays.

        Raises:
            OvertakenError: a newer attempt has begun; nothing is removed.
        """
        self.refuse_overtaken(newest.attempt)
        there = self._folders()
        kept = {newest.name, self._before(newest, [name for name, files in there.items() if STATE in files])}
        for name in there:
            if numbers(name)[1] <= newest.attempt and name not in kept:
                self._remove(name)

    def fetched(self, checkpoint: Checkpoint, folder: Path) -> Path:
        """A local folder with the weights and the seal: its own, or a verified copy below `folder`.

        Raises:
            TornError: the weights are not what was sealed.
        """
        return checkpoint.fetched(folder)

    def _verified(self, name: str) -> Checkpoint:
        checkpoint = self.open(name)
        checkpoint.verify()
        self.whole.add(name)
        return checkpoint

    def _before(self, newest: Checkpoint, names: list[str]) -> str:
        """The name of the newest whole one that is older; what this process does not know is read."""
        for name in names:
            if numbers(name) < (newest.step, newest.attempt):
                with suppress(TornError):
                    return name if name in self.whole else self._verified(name).name
        return ""

    def _sweep(self, attempt: int) -> None:
        """Make room: remove what this attempt and older ones began and never sealed, uploads in parts too."""
        for name, files in self._folders().items():
            if STATE not in files and numbers(name)[1] <= attempt:
                self._remove(name)
        older = "|".join(f"{number:04d}" for number in range(1, attempt + 1))
        self.home.sweep(re.compile(rf"{PREFIX}\d+-a(?:{older})/.*"))

    def _folders(self) -> dict[str, set[str]]:
        """The files of each checkpoint, whole or not, by its name; the newest first."""
        found: dict[str, set[str]] = {}
        for one in self.home.list(PREFIX):
            name, _, file = one.name.partition("/")
            if is_name(name):
                found.setdefault(name, set()).add(file)
        return {name: found[name] for name in sorted(found, key=numbers, reverse=True)}

    def _remove(self, name: str) -> None:
        """Remove a checkpoint, its seal first: halfway it does not exist."""
        self.whole.discard(name)
        home = self.home.below(name)
        home.remove(STATE)
        for one in list(home.list()):
            home.remove(one.name)
        home.remove_place()


def _put(home: Store, group: str, tensors: Mapping[str, Tensor]) -> Sum:
    with home.draft() as draft:
        written = write(draft.file, tensors)
        draft.publish(f"{group}.safetensors")
    return written
