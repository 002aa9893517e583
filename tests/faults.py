"""What goes wrong in a training, at a rank, a step and a phase of the loop; handed in as its `watch`."""

import math
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import distributed

from pipelines.training.state import State

Kind = Literal["kill", "freeze", "hang", "raise", "ruin", "slow"]


class InjectedError(Exception):
    """Raised by a fault."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault; once it has happened its mark is there, and it does not happen again."""

    kind: Kind
    step: int
    phase: str = "begin"
    rank: int = 0
    mark: Path
    """A file that says that it happened."""
    delay: float = 0.0
    """Seconds from the phase to a kill, which then may find the rank anywhere."""
    last: int = -1
    """Last step at which it happens again and again, for what is not once and for all."""

    def __call__(self, phase: str, step: int, state: State) -> None:
        if (
            phase != self.phase
            or own_rank() != self.rank
            or not self.step <= step <= max(self.step, self.last)
        ):
            return
        if self.last < 0 and self.mark.exists():
            return
        self.mark.write_text(f"{os.getpid()} {time.time()}")
        if self.delay:
            threading.Timer(self.delay, self.happen, [state]).start()
        else:
            self.happen(state)

    def happen(self, state: State) -> None:
        """Do it."""
        match self.kind:
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                time.sleep(3600)
            case "slow":
                time.sleep(0.05)
            case "raise":
                raise InjectedError(f"rank {self.rank} at step {self.step}")
            case "ruin":
                with torch.no_grad():
                    next(state.model.parameters()).fill_(math.nan)


def own_rank() -> int:
    """The rank of this process."""
    return distributed.get_rank() if distributed.is_initialized() else 0
