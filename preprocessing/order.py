"""Which samples the batch of a step holds: a pure function of the step; nothing needs to be remembered.

The stream is one epoch behind the other; step s takes its positions [s * batch, (s + 1) * batch). A batch may
straddle epochs; none is dropped or padded. An epoch lays permuted shards one after the other, closes them to
a circle, turns that by a random number of samples and cuts it into strands, which are read side by side:
position q of the stream takes the next sample of strand q % strands. Inside a strand samples are permuted in
windows. A place in the batch always has the same strands, and those of neighbours lie side by side, so that a
rank, which has a slice of the batch, reads one arc of the circle. docs/order.md has proofs and figures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from preprocessing.splitmix import key, permutation, splitmix64

WHOLE = 2**14
"""Sets of so many samples are one window: each epoch is a permutation of all."""
LEAST_STRANDS = 1024
"""Small batches take turns among so many, lest hundreds of steps see few shards: docs/order.md, "Why"."""
WINDOW = 2**10
"""Samples of a window at most; a mean shard's, where that is less: then a window touches two shards."""
POOL = 2**20
"""Samples in the windows of all strands together: what is sorted at once, in about 0.05 us each."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Order:
    """The order of the samples of some shards; threads may share it."""

    sizes: Rows
    """Samples of each shard, in the order of the index."""
    places: int
    """Samples of a global batch."""
    seed: int
    strands: int
    """Fewer than a batch has samples, or a multiple of them."""
    window: int
    """Samples that are permuted among each other, at most."""

    @classmethod
    def of(cls, sizes: Sequence[int] | Rows, batch: int, seed: int) -> "Order":
        """With as many strands as the batch asks for."""
        counted = np.asarray(sizes, np.int64)
        samples, shards = int(counted.sum()), max(1, int(np.count_nonzero(counted)))
        if samples <= WHOLE or batch < 1:
            return cls(counted, batch, seed, strands=1, window=WHOLE)
        strands = batch * -(-LEAST_STRANDS // batch)
        window = max(1, min(WINDOW, samples // shards, POOL // strands))
        return cls(counted, batch, seed, strands, window)

    def __post_init__(self) -> None:
        if self.samples < 1 or self.places < 1 or int(self.sizes.min()) < 0:
            raise ValueError(f"{self.samples} samples and batch {self.places} give no batch")
        if self.strands < 1 or (self.strands > self.places and self.strands % self.places):
            raise ValueError(
                f"{self.strands} strands are neither below batch {self.places} nor a multiple of it"
            )
        if not 1 <= self.window <= WHOLE:
            raise ValueError(f"windows of {self.window} samples; they have 1 to {WHOLE}")

    @cached_property
    def samples(self) -> int:
        """Samples of an epoch."""
        return int(self.sizes.sum())

    def batch(self, step: int) -> tuple[Rows, Rows]:
        """The rows of the step's global batch, and the epoch each of them belongs to."""
        if step < 0:
            raise ValueError(f"step {step} has no batch")
        stream = np.arange(step * self.places, (step + 1) * self.places, dtype=np.int64)
        epochs = stream // self.samples
        numbers = range(int(epochs[0]), int(epochs[-1]) + 1)
        parts = [_epoch(self, number).rows(stream[epochs == number]) for number in numbers]
        return np.concatenate(parts), epochs


@dataclass(frozen=True, eq=False)
class Epoch:
    """Where the strands of one epoch lie on its circle of samples."""

    order: Order
    number: int
    strand: Rows
    """[strands] by the position in the stream, modulo strands: which one along the circle takes it."""
    gone: Rows
    """[strands] along the circle: samples that each gave to earlier epochs."""
    lengths: Rows
    """[strands] along the circle: samples of each in this epoch, equal but for one."""
    starts: Rows
    """[strands] along the circle: where each begins."""
    width: int
    """Samples of each window but a strand's last."""
    turned: int
    """Samples that the circle was turned by."""
    ends: Rows
    """[shards] along the circle before it was turned: where each ends."""
    shifts: Rows
    """[shards] along the circle: what leads from there to the row in the index."""

    @classmethod
    def of(cls, order: Order, number: int) -> "Epoch":
        """Cut one epoch."""
        strands = order.strands
        begin = number * order.samples
        side = min(strands, order.places)
        strand = np.arange(strands).reshape(side, -1).T.reshape(-1)
        phase = np.argsort(strand)
        gone = taken(begin, phase, strands)
        lengths = taken(begin + order.samples, phase, strands) - gone
        longest = int(lengths.max())
        shards = permutation(len(order.sizes), order.seed, number)
        ends = np.cumsum(order.sizes[shards])
        return cls(
            order=order,
            number=number,
            strand=strand,
            gone=gone,
            lengths=lengths,
            starts=np.cumsum(lengths) - lengths,
            width=int(-(-longest // -(-longest // order.window))),
            turned=int(key(order.seed, number, 1)) % order.samples,
            ends=ends,
            shifts=np.cumsum(order.sizes)[shards] - ends,
        )

    def rows(self, stream: Rows) -> Rows:
        """The rows at positions of the stream that lie in this epoch."""
        strand = self.strand[stream % self.order.strands]
        depth = stream // self.order.strands - self.gone[strand]
        windows = depth // self.width
        circle = self.starts[strand] + windows * self.width
        for window in range(int(windows.min()), int(windows.max()) + 1):
            here = windows == window
            inside = depth[here] - window * self.width
            circle[here] += _window(self, window)[strand[here], inside]
        laid = (circle + self.turned) % self.order.samples
        return laid + self.shifts[np.searchsorted(self.ends, laid, side="right")]

    def shuffled(self, window: int) -> NDArray[np.uint16]:
        """[strands, width] for each strand the numbers below its window's size, permuted, then the rest."""
        sizes = np.clip(self.lengths - window * self.width, 0, self.width)
        inside = np.arange(self.width, dtype=np.uint64)
        low = np.uint64(2 ** (self.width - 1).bit_length() - 1)
        keys = splitmix64(
            np.arange(self.order.strands, dtype=np.uint64) ^ key(self.order.seed, self.number, 2, window)
        )
        bits = splitmix64(inside ^ keys[:, None])
        bits[inside.astype(np.int64) >= sizes[:, None]] = ~low
        # Sorted with its number in the low bits each is unlike all others: any way of sorting gives the same.
        return (np.sort((bits & ~low) | inside, axis=1) & low).astype(np.uint16)


def taken(end: int, phase: Rows, strands: int) -> Rows:
    """Positions of the stream before `end` that are each phase modulo strands."""
    return (end - phase + strands - 1) // strands


# A step asks for one epoch and one window of its strands, or two at a border; threads are a few steps apart.
@lru_cache(maxsize=4)
def _epoch(order: Order, number: int) -> Epoch:
    return Epoch.of(order, number)


@lru_cache(maxsize=4)
def _window(epoch: Epoch, number: int) -> NDArray[np.uint16]:
    return epoch.shuffled(number)
