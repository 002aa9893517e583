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
from pipelines.settings import RunSettings
from pipelines.training.ranks import Ranks
from preprocessing.order import Order
from preprocessing.reading import Reader

THREADS = 2
AHEAD = 4


class Fed(NamedTuple):
    """One rank's part of a step's batch, read on the CPU."""

    step: int
    batch: dict[str, Raw]
    labels: Tensor
    """int64 [B], or uint8 [B, K] where a sample may have several."""
    seeds: Tensor
    """int64 [B], one for each visit of a sample"""
    own: slice
    """Samples that are this rank's; others are there because one of its own is blended with them."""
    waited: float
    """Seconds that the training stood still for this batch."""

    def rows(self, part: slice) -> "Fed":
        """Some of the samples."""
        batch = {modality: raw.rows(part) for modality, raw in self.batch.items()}
        size = part.stop - part.start
        begin, end = (min(max(at - part.start, 0), size) for at in (self.own.start, self.own.stop))
        return self._replace(
            batch=batch, labels=self.labels[part], seeds=self.seeds[part], own=slice(begin, end)
        )

    def to(self, device: torch.device) -> "Fed":
        """The same on another device."""
        batch = {modality: raw.to(device) for modality, raw in self.batch.items()}
        labels, seeds = (part.to(device, non_blocking=True) for part in (self.labels, self.seeds))
        return self._replace(batch=batch, labels=labels, seeds=seeds)

    def pinned(self) -> "Fed":
        """The same in memory that a GPU copies from while the CPU goes on."""
        batch = {modality: raw.pinned() for modality, raw in self.batch.items()}
        return self._replace(batch=batch, labels=self.labels.pin_memory(), seeds=self.seeds.pin_memory())


def training_feed(
    model: Perceiver, reader: Reader, ranks: Ranks, steps: range, settings: RunSettings
) -> Iterator[Fed]:
    """This rank's slices of the global batches of `steps`, several steps ahead of their use."""
    batch, seed = settings.train.batch, settings.seed
    order, mine = Order.of(reader.shard_sizes, batch, seed), ranks.slice(batch)
    fetched = with_partners(mine, batch) if settings.train.blends else mine
    own = slice(mine.start - fetched.start, mine.stop - fetched.start)

    def load(step: int) -> Fed:
        rows, epochs = order.batch(step)
        rows, epochs = rows[fetched], epochs[fetched]
        seeds = sample_seeds(seed, torch.from_numpy(epochs), torch.from_numpy(rows))
        columns = model.collate_columns(reader.read_batch(rows), seeds)
        fed = Fed(step, columns, _labels(reader, rows), seeds, own, 0.0)
        return fed.pinned() if ranks.device.type == "cuda" else fed

    with ThreadPoolExecutor(THREADS, thread_name_prefix="feed") as pool:
        ahead: deque[Future[Fed]] = deque()
        todo = iter(steps)
        ahead.extend(pool.submit(load, step) for _, step in zip(range(AHEAD), todo, strict=False))
        while ahead:
            began = time.perf_counter()
            fed = ahead.popleft().result()
            # Counted too: the thread that this wakes may keep the interpreter's lock for milliseconds.
            ahead.extend(pool.submit(load, step) for _, step in zip(range(1), todo, strict=False))
            yield fed._replace(waited=time.perf_counter() - began)


def with_partners(mine: slice, batch: int) -> slice:
    """The slice with the other sample of each pair (2k, 2k + 1) of the global batch that it cuts through."""
    return slice(mine.start - mine.start % 2, min(mine.stop + mine.stop % 2, batch))


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
