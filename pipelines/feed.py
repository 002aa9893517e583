"""Batches for one rank, read ahead on threads, in the order that the step number alone decides."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from perceiver.draws import sample_seeds
from perceiver.model import Perceiver
from perceiver.segment import Raw
from pipelines.ranks import Ranks
from preprocessing import order
from preprocessing.reading import Reader

THREADS = 2
AHEAD = 4


class Fed(NamedTuple):
    """One rank's part of a step's batch, on the CPU."""

    step: int
    batch: dict[str, Raw]
    labels: Tensor
    """int64 [B]"""
    seeds: Tensor
    """int64 [B], one for each visit of a sample"""
    waited: float
    """Seconds that the training stood still for this batch."""


def training_feed(
    model: Perceiver, reader: Reader, ranks: Ranks, steps: range, batch: int, seed: int
) -> Iterator[Fed]:
    """This rank's slices of the global batches of `steps`, several steps ahead of their use."""

    def load(step: int) -> Fed:
        rows, epochs = order.batch(step, samples=len(reader), batch=batch, seed=seed)
        mine = ranks.slice(batch)
        rows, epochs = rows[mine], epochs[mine]
        seeds = sample_seeds(seed, torch.from_numpy(epochs), torch.from_numpy(rows))
        return Fed(
            step, model.collate_columns(reader.read_batch(rows), seeds), _labels(reader, rows), seeds, 0.0
        )

    with ThreadPoolExecutor(THREADS, thread_name_prefix="feed") as pool:
        ahead: deque[Future[Fed]] = deque()
        todo = iter(steps)
        ahead.extend(pool.submit(load, step) for _, step in zip(range(AHEAD), todo, strict=False))
        while ahead:
            began = time.perf_counter()
            fed = ahead.popleft().result()
            waited = time.perf_counter() - began
            ahead.extend(pool.submit(load, step) for _, step in zip(range(1), todo, strict=False))
            yield fed._replace(waited=waited)


def evaluation_feed(
    model: Perceiver, reader: Reader, ranks: Ranks, batch: int
) -> Iterator[tuple[dict[str, Raw], Tensor]]:
    """This rank's part of a split, each sample once over all ranks, and its labels."""
    rows = np.arange(len(reader))[ranks.slice(len(reader))]
    for begin in range(0, len(rows), batch):
        part = rows[begin : begin + batch]
        yield model.collate_columns(reader.read_batch(part), None), _labels(reader, part)


def _labels(reader: Reader, rows: NDArray[np.int64]) -> Tensor:
    return torch.from_numpy(reader.labels[rows])
