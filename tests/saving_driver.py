"""Saves checkpoints without end in a process that a test may kill or freeze, and says what it has saved."""

import itertools
import os
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from groups import forked
from torch import Tensor

from pipelines.training.checkpoints import Checkpoint, Checkpoints, OvertakenError
from pipelines.training.saving import Saver

NUMBERS = 60_000
RECORD = {"samples_seen": 12, "optimizer": [{"lr": 0.1, "betas": [0.9, 0.99]}]}


def tensors_of(step: int, attempt: int) -> Mapping[str, Mapping[str, Tensor]]:
    """Tensors that tell whose they are."""
    own = torch.full((NUMBERS,), step + attempt / 10_000)
    return {"model": {"w": own}, "optimizer": {"0.w": own, "0.step": torch.tensor(float(step))}}


def is_unmixed(checkpoint: Checkpoint) -> bool:
    """Whether all of it was saved at this step by this attempt."""
    saved = {group: checkpoint.tensors(group) for group in checkpoint.groups}
    wanted = tensors_of(checkpoint.step, checkpoint.attempt)
    return saved.keys() == wanted.keys() and all(
        torch.equal(saved[group][name], value) for group in wanted for name, value in wanted[group].items()
    )


def start(place: str, said: Path) -> BaseProcess:
    """Start saving there in a process of its own, which adds a line to `said` for all that happens."""
    aws = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return forked(_save_on, place, str(said), aws)


def lines(said: Path) -> list[str]:
    """What was said in full."""
    return said.read_text().split("\n")[:-1] if said.exists() else []


def _save_on(place: str, said: str, aws: Mapping[str, str]) -> None:
    os.environ.update(aws)
    torch.set_num_threads(1)
    log = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(line: str) -> None:
        os.write(log, f"{line}\n".encode())

    checkpoints = Checkpoints.at(place)
    attempt = checkpoints.claim()
    newest, _ = checkpoints.newest()
    saver = Saver(
        checkpoints, attempt, lambda checkpoint: say(checkpoint.name), lambda step, error: say(repr(error))
    )
    try:
        for step in itertools.count(newest.step + 1 if newest else 1):
            saver.save(step, tensors_of(step, attempt), RECORD)
    except OvertakenError:
        say("overtaken")
        sys.exit(3)
