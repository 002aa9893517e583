"""A rank's part of one batch, through the model and back, in pieces that fit its memory."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from perceiver.blending import blended
from perceiver.segment import Raw
from perceiver.step import score
from pipelines.training.feed import Fed
from pipelines.training.ranks import Ranks, silent
from pipelines.training.state import State


class Learnt(NamedTuple):
    """What a rank saw of a batch."""

    loss: Tensor
    """Sum of its samples' losses."""
    correct: Tensor
    """Those of its samples that it got right."""
    ready: float
    """When its last backward pass began (s of time.perf_counter), in which ranks wait for each other."""


def learn(state: State, stepping: nn.Module, fed: Fed, ranks: Ranks) -> Learnt:
    """Gradients of the mean loss over the global batch, averaged over the ranks; weights stay as they are.

    `stepping` is the state's model as the ranks have wrapped it.
    """
    ready = 0.0
    train = state.settings.train
    weight = state.scale.factor * ranks.world / train.batch
    state.optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    for piece, last in pieces(fed, state.settings.most_at_once):
        placed = piece.to(ranks.device)
        batch, targets = changed(state, placed)
        with nullcontext() if last else silent(stepping):
            scored = score(stepping, batch, targets, train, state.objective)
            ready = time.perf_counter()
            (scored.loss * weight).backward()
        sums += torch.stack([scored.loss.detach(), scored.correct]).to(sums)
    return Learnt(sums[0], sums[1], ready)


def changed(state: State, fed: Fed) -> tuple[dict[str, Raw], Tensor]:
    """The batch changed at random, and its targets; partners that are another rank's are left out again."""
    train = state.settings.train
    batch = state.model.augment(fed.batch, fed.seeds, train)
    if not train.blends:
        return batch, fed.labels
    shares = state.objective.shares(fed.labels, state.model.classes)
    batch, shares = blended(batch, shares, fed.seeds, train)
    return {name: raw.rows(fed.own) for name, raw in batch.items()}, shares[fed.own]


def pieces(fed: Fed, most: int) -> Iterator[tuple[Fed, bool]]:
    """So many samples at most at a time, partners together, and whether they are the last."""
    samples, most = len(fed.seeds), most + most % 2
    for begin in range(0, samples, most):
        yield fed.rows(slice(begin, min(begin + most, samples))), begin + most >= samples
