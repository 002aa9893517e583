"""One loader of the reading benchmark, alone in a process: from shards to ready batches.

    python -m benchmarks.loaders WHO FOLDER < commands > replies       (started by `benchmarks.reading`)

A command is a JSON line, `{"seed": 1, "passes": 3, "check": false}`: open the shards and read all samples so
many times, in batches of uint8 [B, 224, 224, 3] that lie contiguously. The reply says what it took.

Every loader is made by a function that imports what it needs and writes its own format; what it returns opens
the shards, and what that returns yields the batches of one pass. None may skip a sample: `check` sums over
parts of all of them.
"""

import io
import json
import os
import sys
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

BATCH = 64
SIDE = 224
SIZE = SIDE * SIDE * 3
BUFFER = 1000
"""Samples that are mixed where a tool can do no more."""
AHEAD = 4

Batches = Iterator[Any]
Loader = Callable[[], Callable[[int], Batches]]
"""Opens the shards; then seed -> all samples once."""


class Contestant(NamedTuple):
    """Who, and under which terms."""

    make: Callable[[Path], Loader]
    order: str
    """How well the samples are mixed."""
    cores: int = 1
    passes: int = 3
    """Over the samples, after each opening."""


def paths(folder: Path) -> list[Path]:
    """The tars."""
    return sorted((folder / "shards").glob("*.tar"))


def places(folder: Path) -> tuple[list[int], list[int], list[int]]:
    """Open shards, and of each sample the shard and the offset: all that a limit needs to know."""
    from preprocessing.shards import Shards

    index = Shards.open(str(folder / "shards")).index(["shard", "arrays"])
    names = [path.name for path in paths(folder)]
    shards = [names.index(name) for name in index["shard"].to_pylist()]
    offsets = [arrays[0]["offset"] for arrays in index["arrays"].to_pylist()]
    return [os.open(path, os.O_RDONLY) for path in paths(folder)], shards, offsets


def parts(seed: int, samples: int) -> Iterator[NDArray[np.int64]]:
    """The rows of each batch, in an order over all samples."""
    order = np.random.default_rng(seed).permutation(samples)
    for begin in range(0, samples, BATCH):
        yield order[begin : begin + BATCH]


def copying(folder: Path) -> Callable[[list[int], NDArray[np.uint8]], NDArray[np.uint8]]:
    """Rows out of the page cache into memory that is there already."""
    files, shards, offsets = places(folder)

    def copied(rows: list[int], into: NDArray[np.uint8]) -> NDArray[np.uint8]:
        memory = into.reshape(-1).data
        for at, row in enumerate(rows):
            os.preadv(files[shards[row]], [memory[at * SIZE : at * SIZE + SIZE]], offsets[row])
        return into[: len(rows)]

    copied.samples = len(offsets)  # type: ignore[attr-defined]
    return copied


def limit(folder: Path) -> Loader:
    """`os.preadv` at known offsets into one batch that is used again and again."""
    copied: Any = copying(folder)
    batch = np.ones((BATCH, SIDE, SIDE, 3), np.uint8)
    return lambda: lambda seed: (copied(rows.tolist(), batch) for rows in parts(seed, copied.samples))


def limit_of_two(folder: Path) -> Loader:
    """The same on two threads, each with a batch of its own."""
    copied: Any = copying(folder)
    own = [np.ones((BATCH, SIDE, SIDE, 3), np.uint8) for _ in range(2 * AHEAD)]

    def load(at: int, rows: NDArray[np.int64]) -> Any:
        return copied(rows.tolist(), own[at % len(own)])

    return lambda: lambda seed: ahead(load, parts(seed, copied.samples))


def memory(folder: Path) -> Loader:
    """The samples are in this process already: copying them is all there is to do."""
    files, shards, offsets = places(folder)
    samples = np.empty((len(offsets), SIZE), np.uint8)
    for row, offset in enumerate(offsets):
        os.preadv(files[shards[row]], [samples[row].data], offset)
    batch = np.ones((BATCH, SIZE), np.uint8)

    def copied(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        for at, row in enumerate(rows.tolist()):
            batch[at] = samples[row]
        return batch[: len(rows)].reshape(-1, SIDE, SIDE, 3)

    return lambda: lambda seed: map(copied, parts(seed, len(samples)))


def ours(folder: Path) -> Loader:
    """Our reader, on the thread that wants the batches."""
    from preprocessing.reading import Reader
    from preprocessing.shards import Shards

    shards = Shards.open(str(folder / "shards"))

    def opened() -> Callable[[int], Batches]:
        reader = Reader(shards, "train")
        return lambda seed: (reader.read_batch(rows)["image"] for rows in parts(seed, len(reader)))

    return opened


def ours_of_two(folder: Path) -> Loader:
    """Our reader on two threads, some batches ahead, as in training."""
    from preprocessing.reading import Reader
    from preprocessing.shards import Shards

    shards = Shards.open(str(folder / "shards"))

    def opened() -> Callable[[int], Batches]:
        reader = Reader(shards, "train")
        return lambda seed: ahead(lambda _, rows: reader.read_batch(rows)["image"], parts(seed, len(reader)))

    return opened


def ahead(load: Callable[[int, NDArray[np.int64]], Any], todo: Iterator[NDArray[np.int64]]) -> Batches:
    """Batches in their order, loaded on two threads."""
    with ThreadPoolExecutor(2) as pool:
        waiting: deque[Future[Any]] = deque()
        for at, rows in enumerate(todo):
            waiting.append(pool.submit(load, at, rows))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def plain_tarfile(folder: Path) -> Loader:
    """Python's own `tarfile`, one shard after the other."""

    def one_pass(seed: int) -> Batches:
        batch: list[NDArray[np.uint8]] = []
        for place in np.random.default_rng(seed).permutation(len(paths(folder))):
            with tarfile.open(paths(folder)[place]) as tar:
                for member in tar:
                    if member.name.endswith(".npy"):
                        data: Any = tar.extractfile(member)
                        batch.append(np.load(io.BytesIO(data.read())))
                    if len(batch) == BATCH:
                        yield np.stack(batch)
                        batch = []
        if batch:
            yield np.stack(batch)

    return lambda: one_pass


def webdataset(folder: Path) -> Loader:
    """webdataset's own decoding, mixing and batching."""
    import webdataset as wds

    def opened() -> Callable[[int], Batches]:
        urls = [str(path) for path in paths(folder)]
        samples: Any = wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(BUFFER)
        batches = samples.decode().to_tuple("image.npy", "json").batched(BATCH, partial=True)
        return lambda _: (images for images, _ in batches)

    return opened


def ray_data(folder: Path) -> Loader:
    """Ray Data on the same tars, on a cluster of one core."""
    import logging

    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(num_cpus=1, include_dashboard=False, object_store_memory=2**30, logging_level="ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False

    def opened() -> Callable[[int], Batches]:
        rows = ray.data.read_webdataset([str(path) for path in paths(folder)], shuffle="files")
        how: Any = {"batch_size": BATCH, "batch_format": "numpy", "local_shuffle_buffer_size": BUFFER}
        return lambda _: (batch["image.npy"] for batch in rows.iter_batches(**how))

    return opened


CONTESTANTS: dict[str, Contestant] = {
    "ours": Contestant(ours, "all samples"),
    "limit": Contestant(limit, "all samples"),
    "memory": Contestant(memory, "all samples"),
    "tarfile": Contestant(plain_tarfile, "shards"),
    "webdataset": Contestant(webdataset, f"shards, and {BUFFER} samples"),
    "ray-data": Contestant(ray_data, f"shards, and {BUFFER} samples", passes=1),
    "ours-2": Contestant(ours_of_two, "all samples", cores=2),
    "limit-2": Contestant(limit_of_two, "all samples", cores=2),
}


def turn(loader: Loader, seed: int, passes: int, check: bool) -> dict[str, Any]:
    """Open, read everything so many times, and say what it took."""
    began, busy = time.perf_counter(), time.process_time()
    first, samples, total = 0.0, 0, 0
    one_pass = loader()
    for number in range(passes):
        for batch in one_pass(1000 * seed + number):
            first = first or time.perf_counter() - began
            samples += len(batch)
            if check:
                total += checked(np.asarray(batch))
            del batch  # one is alive at a time, as in the limit
    return {
        "wall": time.perf_counter() - began,
        "cpu": time.process_time() - busy,
        "first": first,
        "samples": samples,
        "sum": total,
    }


def checked(batch: NDArray[np.uint8]) -> int:
    """A number that the order of the samples does not change."""
    if batch.dtype != np.uint8 or batch.shape[1:] != (SIDE, SIDE, 3) or not batch.flags.c_contiguous:
        raise ValueError(f"no ready batch: {batch.dtype} {batch.shape}")
    return int(batch[:, ::37, ::41].astype(np.int64).sum())


def serve(who: str, folder: Path) -> None:
    """Make the loader, then obey."""
    from benchmarks.peer_loaders import PEERS

    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # libraries print, but not into the replies
        contestant = {**CONTESTANTS, **PEERS}[who]
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-contestant.cores :])
        loader = contestant.make(folder)
        for line in sys.stdin:
            print(json.dumps(turn(loader, **json.loads(line))), file=replies, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], Path(sys.argv[2]))
