"""How far each attempt at a training came and what its time went into, as a file that outlives its process.

An attempt is one start of all ranks. The first rank overwrites one line at every step; whoever is killed
leaves what it had written, as the page cache is the kernel's.
"""

import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

LINE = 512
"""Bytes of the line, filled up with blanks."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """One attempt."""

    attempt: int
    workers: int
    began: float
    """Seconds since 1970; the same for the last."""
    first: int
    """Steps that the checkpoint had which it began with."""
    furthest: int
    """Steps that earlier attempts had taken; those above `first` are done again."""
    step: int
    """Steps taken by now."""
    last: float
    useful: float = 0.0
    """Seconds in steps that no attempt had taken before."""
    redone: float = 0.0
    """Seconds in steps that an earlier attempt had taken."""
    waiting: float = 0.0
    """Seconds in which the training stood still: for data, evaluation, checkpoints."""

    @property
    def steps_redone(self) -> int:
        """Steps that had been taken before and were lost."""
        return max(0, min(self.step, self.furthest) - self.first)

    @property
    def beginning(self) -> str:
        """Where it goes on, in words."""
        again = self.furthest - self.first
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        redone = f", {again:,} steps are done again" if again else ""
        return f"it goes on from step {self.first:,} with {workers}{redone}"

    def stepped(self, seconds: float, waited: float) -> "Account":
        """After one more step, which took so long, and as long as that stood still for data."""
        again = self.step < self.furthest
        return replace(
            self,
            step=self.step + 1,
            last=time.time(),
            useful=self.useful + (0.0 if again else seconds),
            redone=self.redone + (seconds if again else 0.0),
            waiting=self.waiting + waited,
        )

    def waited(self, seconds: float) -> "Account":
        """After standing still."""
        return replace(self, waiting=self.waiting + seconds)


class Pulse:
    """The account of the attempt that is under way, on the disk at every step."""

    def __init__(self, folder: Path, account: Account) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.account = account
        self._file = os.open(path_of(folder, account.attempt), os.O_CREAT | os.O_WRONLY, 0o644)
        self.beat(account)

    @classmethod
    def begin(cls, folder: Path, attempt: int, workers: int, step: int) -> "Pulse":
        """The pulse of an attempt that goes on from this step."""
        before = accounts(folder)
        furthest = max([step, *(one.step for one in before)])
        now = time.time()
        account = Account(
            attempt=attempt, workers=workers, began=now, first=step, furthest=furthest, step=step, last=now
        )
        return cls(folder, account)

    def beat(self, account: Account) -> None:
        """Put the account down."""
        self.account = account
        with suppress(OSError):  # a full disk: no account is worth the training, and the next may succeed
            os.pwrite(self._file, json.dumps(asdict(account)).encode().ljust(LINE), 0)

    def end(self) -> None:
        """Nothing more will come."""
        os.close(self._file)


def path_of(folder: Path, attempt: int) -> Path:
    """Where an attempt's account lies."""
    return folder / f"{attempt:06d}.json"


def accounts(folder: Path) -> list[Account]:
    """Those of all attempts, in their order; one that was never written, or not whole, is left out."""
    found: list[Account] = []
    for path in sorted(folder.glob("*.json")):
        # A power cut leaves zeros, or one line's begin on another's end.
        with suppress(ValueError, TypeError):
            found.append(Account(**json.loads(path.read_bytes())))
    return found


def goodput(all_attempts: Iterable[Account]) -> dict[str, float]:
    """What the time since the first attempt went into, in seconds and, for what was useful, as a share.

    MLflow's UI shows the words before the slash as sections in alphabetical order: curves of the test, the
    training and the validation split come before `work`.
    """
    known = list(all_attempts)
    whole = max(max(one.last for one in known) - min(one.began for one in known), 1e-9)
    useful, redone = sum(one.useful for one in known), sum(one.redone for one in known)
    return {
        "work/goodput": useful / whole,
        "work/useful_seconds": useful,
        "work/redone_seconds": redone,
        "work/waiting_seconds": whole - useful - redone,
        "work/redone_steps": float(sum(one.steps_redone for one in known)),
        "work/attempts": float(len(known)),
    }
