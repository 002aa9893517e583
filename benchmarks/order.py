"""How mixed and how local the order of training samples is, beside an exact permutation of all samples.

    python -m benchmarks.order [--rounds 3] [--out FILE]

The storage is the worst one, sorted by class: shards of 1,000 samples, each of one class, or of ten one after
the other. "Labels" are the distinct ones in a batch, also as a share of what as many draws from all samples
give, and that share for the samples of 100 batches running. "Open" is the most shards that one of 8 nodes has
between their first and their last read of an epoch, "reads" the share of all bytes that a node reads in an
epoch where each shard that it touches is copied whole, "all" what the nodes read together. Speed is CPU time
over a whole epoch of 10 M samples, the median of interleaved rounds; "first" is the time to the first batch,
"memory" the peak until then.
"""

import argparse
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.reading import OUT as READING
from benchmarks.reading import Result, machine, record
from preprocessing.order import Order
from preprocessing.splitmix import permutation

Rows = NDArray[np.int64]
Batch = Callable[[int], tuple[Rows, Rows]]
OUT = READING.with_name("order.json")
SHARD = 1000
NODES = 8
BATCHES = (256, 1024)
RUNNING = 100
SEED = 0
STORAGES = {"1,000 shards of a class": (1000, 1), "100 shards of ten classes": (100, 10)}
"""Shards, and classes in each."""
LARGE = 10_000
"""Shards of the speed test."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(words)
    result: Result = {
        "about": f"shards of {SHARD} samples sorted by class, {NODES} nodes, seed {SEED}",
        "machine": machine(),
        "mixed": [
            mixed(storage, batch, who) for storage in STORAGES for batch in BATCHES for who in CONTESTANTS
        ],
        "speed": [one for batch in BATCHES for one in speed(batch, options.rounds)],
    }
    record(options.out, result)
    for part in ("mixed", "speed"):
        print(table(result[part]), end="\n\n")


def strands(shards: int, batch: int) -> Batch:
    """Ours."""
    return Order.of([SHARD] * shards, batch, SEED).batch


def exact(shards: int, batch: int) -> Batch:
    """A permutation of all samples, another one each epoch."""
    samples = shards * SHARD
    kept: dict[int, Rows] = {}

    def batches(step: int) -> tuple[Rows, Rows]:
        positions = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
        epochs = positions // samples
        rows = np.empty(batch, np.int64)
        for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
            if epoch not in kept:
                kept[epoch] = permutation(samples, SEED, epoch)
                kept.pop(epoch - 2, None)
            here = epochs == epoch
            rows[here] = kept[epoch][positions[here] % samples]
        return rows, epochs

    return batches


CONTESTANTS = {"ours": strands, "exact": exact}


def mixed(storage: str, batch: int, who: str) -> Result:
    """Quality and locality of one order on one storage."""
    shards, classes = STORAGES[storage]
    samples = shards * SHARD
    batches = CONTESTANTS[who](shards, batch)
    labels = np.arange(samples) // (SHARD // classes)
    begins = range(0, 2 * samples // batch - RUNNING, samples // batch // 20)
    one = np.mean([distinct(labels, batches, begin, 1) for begin in begins])
    many = np.mean([distinct(labels, batches, begin, RUNNING) for begin in begins])
    read = locality(batches, np.arange(samples) // SHARD, batch, NODES)
    return {
        "storage": storage,
        "batch": batch,
        "order": who,
        "labels": round(float(one), 1),
        "of_uniform": round(float(one) / uniform(labels, batch), 3),
        f"of_uniform_in_{RUNNING}": round(float(many) / uniform(labels, RUNNING * batch), 3),
        "open": read.open,
        "reads": round(max(read.shards) / shards, 4),
        "all": round(sum(read.shards) / shards, 4),
    }


def distinct(labels: Rows, batches: Batch, begin: int, steps: int) -> int:
    """Distinct labels in so many batches."""
    return len(np.unique(labels[np.concatenate([batches(begin + at)[0] for at in range(steps)])]))


def uniform(labels: Rows, draws: int) -> float:
    """Distinct labels that so many draws without replacement give on average."""
    samples, counts = len(labels), np.bincount(labels)
    left = samples - np.arange(min(draws, samples))
    with np.errstate(divide="ignore"):
        absent = [np.log1p(-np.minimum(count / left, 1)).sum() for count in np.unique(counts)]
    share = dict(zip(np.unique(counts).tolist(), np.exp(absent), strict=True))
    return float(sum(1 - share[count] for count in counts.tolist()))


@dataclass(frozen=True)
class Locality:
    """What nodes read in one epoch."""

    shards: list[int]
    """Distinct ones, of each node."""
    open: int
    """The most that one node has between their first and their last read."""


def locality(batches: Batch, shard: Rows, batch: int, nodes: int, epoch: int = 1) -> Locality:
    """Let nodes read their slices of all batches of one epoch; `shard` is that of each row."""
    samples, shards = len(shard), int(shard.max()) + 1
    # as `Ranks.slice` cuts
    node = np.searchsorted(np.arange(1, nodes + 1) * batch // nodes, np.arange(batch), side="right")
    steps = range(epoch * samples // batch, ((epoch + 1) * samples - 1) // batch + 1)
    first = np.full(nodes * shards, -1)
    last = first.copy()
    for at, step in enumerate(steps):
        rows, epochs = batches(step)
        touched = (node * shards + shard[rows])[epochs == epoch]
        first[touched[first[touched] < 0]] = at
        last[touched] = at
    opened = np.zeros((nodes, len(steps) + 1), int)
    read = first >= 0
    owner = np.repeat(np.arange(nodes), shards)
    np.add.at(opened, (owner[read], first[read]), 1)
    np.add.at(opened, (owner[read], last[read] + 1), -1)
    return Locality(
        shards=read.reshape(nodes, shards).sum(axis=1).tolist(),
        open=int(np.cumsum(opened, axis=1).max()),
    )


def speed(batch: int, rounds: int) -> list[Result]:
    """Seconds of both orders for every step of an epoch."""
    took: dict[str, list[tuple[float, float]]] = {who: [] for who in CONTESTANTS}
    for _ in range(rounds):
        for who, seconds in took.items():
            seconds.append(timed(who, batch))
    return [
        {
            "shards": LARGE,
            "batch": batch,
            "order": who,
            "us_a_sample": round(1e6 * statistics.median(all_ for _, all_ in seconds) / (LARGE * SHARD), 3),
            "first_ms": round(1e3 * statistics.median(first for first, _ in seconds), 1),
            "memory_mib": round(memory(who, batch), 1),
        }
        for who, seconds in took.items()
    ]


def timed(who: str, batch: int) -> tuple[float, float]:
    """CPU seconds to the first batch, and to the last of the epoch."""
    began = time.process_time()
    batches = CONTESTANTS[who](LARGE, batch)
    batches(0)
    first = time.process_time() - began
    for step in range(1, LARGE * SHARD // batch):
        batches(step)
    return first, time.process_time() - began


def memory(who: str, batch: int) -> float:
    """MiB at the most until the first batch is there."""
    tracemalloc.start()
    CONTESTANTS[who](LARGE, batch)(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def table(rows: Sequence[Result]) -> str:
    """Markdown, as docs/order.md shows it."""
    lines = [" | ".join(["", *rows[0], ""]), "|".join(["", *("---" for _ in rows[0]), ""])]
    lines += [" | ".join(["", *(str(cell) for cell in row.values()), ""]) for row in rows]
    return "\n".join(line.strip() for line in lines)


if __name__ == "__main__":
    main()
