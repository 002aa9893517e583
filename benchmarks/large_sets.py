"""What a set of millions of samples needs, computed from what was measured on a small one.

Figures come from benchmarks/results/*.json; what was not measured is a field of `Assumed`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
RUNS = Path(__file__).parent.parent / "pipelines" / "runs"
PART = 64 * 2**20
"""Bytes of a part of an upload (cluster/bucket.py)."""
WHOLE_PUT = 2**30
"""Up to here an object is put in one request (cluster/bucket.py)."""
PAGE = 1000
"""Keys in one answer of a bucket that lists."""
AT_ONCE = 8
"""Pages that are asked for at a time (cluster/listing.py)."""
BESIDE = 2560
"""Bytes of a sample beside its arrays: two tar members, an .npy header, the JSON."""
SHARD, OFFSET = 4, 8
"""Bytes that a rank keeps of each sample, and of each modality of it (preprocessing/reading.py)."""
GPUS = 8
"""Of a node."""
BACKWARD = 3
"""Forward and backward pass in forward passes."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Example values, in dollars; every one is an option."""

    gpu_hour: float = 3.0
    """One H100, rented by the hour."""
    core_hour: float = 0.05
    """One CPU core with its memory."""
    gib_month: float = 0.023
    """Storage in a bucket."""
    put: float = 0.005
    """1,000 requests that write or list."""
    get: float = 0.0004
    """1,000 requests that read."""


@dataclass(frozen=True, kw_only=True)
class Assumed:
    """What was not measured, or is the reader's to choose; every one is an option."""

    cores: int = 64
    """CPU cores that shard."""
    gpus: int = 64
    peak: float = 989e12
    """Operations per second of a GPU in dense bfloat16: an H100's data sheet."""
    utilisation: float = 0.3
    """Share of the peak that training reaches. Not measured: there was no GPU."""
    drive: float = 7e9
    """Bytes per second that a node of eight GPUs reads from its cache: an NVMe drive's data sheet."""
    page_seconds: float = 0.1
    """From asking a bucket for a page of keys to its answer. Not measured: the network's."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A set, and how it is learnt from."""

    name: str
    samples: int
    run_file: str
    epochs: int
    label: int
    """Bytes of a label in memory: one number, or a byte for each class where a sample may have several."""
    per_core: tuple[str, ...]
    """Where the number of samples is that a core shards in a second."""


def measured(file: str, *keys: str) -> Any:
    """A figure of benchmarks/results."""
    found = json.loads((RESULTS / f"{file}.json").read_text())
    for key in keys:
        found = found[key]
    return found


PHOTOS = ("sharding", "photos", "contestants", "ours", "per_cpu_second")
"""Photos of 500 px to 224 x 224."""
CLIPS = ("clip", "per_cpu_second")
"""Clips of 10 s, 340 x 256 at 25 frames a second, to 224 x 224, with their sound."""
COPIED = ("reading", "contestants", "ours", "bytes_per_second")
"""By a core, from the page cache into batches."""

CASES = (
    Case(name="ImageNet", samples=1_281_167, run_file="imagenet", epochs=120, label=8, per_core=PHOTOS),
    Case(name="AudioSet", samples=2_000_000, run_file="audioset", epochs=100, label=527, per_core=CLIPS),
    Case(name="100 M images", samples=100_000_000, run_file="imagenet", epochs=10, label=8, per_core=PHOTOS),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a set needs."""

    case: Case
    sample_bytes: int
    shards: int
    forward: float
    """Operations of a sample forward, as the paper counts them."""
    list_hours: float
    plan_hours: float
    plan_gib: float
    shard_core_hours: float
    train_gpu_hours: float
    node_bytes: float
    """That a node of eight GPUs reads a second, so that they are busy."""
    drive_hours: float
    """Of the training, if a node's drive gives no more than it can."""
    copying_cores: float
    """Cores of a node that copy samples into batches."""
    rank_gib: float
    """Of the index in the memory of each rank."""
    node_tib: float
    """Of all shards on a node's drive: which samples it reads moves from epoch to epoch."""
    lists: int
    raw_gets: int
    puts: int
    whole_gets: int
    """Reading each shard once a node."""
    range_gets: int
    """Reading each sample by itself at each visit, without a cache."""

    @property
    def gib(self) -> float:
        """Of all shards."""
        return self.case.samples * self.sample_bytes / 2**30


def plan(case: Case, assumed: Assumed) -> Plan:
    """What this set needs."""
    settings, forward = model_of(case.run_file)
    size = sample_bytes(settings)
    shards = -(-case.samples // settings.data.shard_size)
    shard_bytes = size * settings.data.shard_size
    puts = shards * (1 if shard_bytes <= WHOLE_PUT else 2 + -(-shard_bytes // PART))
    planned = measured("sharding", "planning", "planned")
    small, large = planned["1000000"], planned["10000000"]
    gib_a_million = (large["peak_gib"] - small["peak_gib"]) / 9
    pages = -(-case.samples // PAGE)
    gpu_seconds = BACKWARD * forward * case.samples * case.epochs / (assumed.peak * assumed.utilisation)
    visited = size * case.samples * case.epochs
    node_bytes = GPUS * visited / gpu_seconds
    return Plan(
        case=case,
        sample_bytes=size,
        shards=shards,
        forward=forward,
        list_hours=pages * assumed.page_seconds / AT_ONCE / 3600,
        plan_hours=large["total"] / 10e6 * case.samples / 3600,
        plan_gib=small["peak_gib"] + gib_a_million * (case.samples / 1e6 - 1),
        shard_core_hours=case.samples / measured(*case.per_core) / 3600,
        train_gpu_hours=gpu_seconds / 3600,
        node_bytes=node_bytes,
        drive_hours=visited / (assumed.drive * assumed.gpus / GPUS) / 3600,
        copying_cores=node_bytes / measured(*COPIED),
        rank_gib=case.samples * (SHARD + OFFSET * len(settings.data.modalities) + case.label) / 2**30,
        node_tib=case.samples * size / 2**40,
        lists=pages,
        raw_gets=case.samples,
        puts=puts,
        whole_gets=shards * -(-assumed.gpus // GPUS),
        range_gets=case.samples * case.epochs,
    )


@cache
def model_of(run_file: str) -> tuple[Any, float]:
    """The settings of a run file that comes with the product, and its model's operations a sample forward."""
    import torch

    from perceiver.flops import flops
    from perceiver.model import Perceiver
    from pipelines.settings import read
    from pipelines.training.specs import specs

    settings = read(str(RUNS / f"{run_file}.toml"), [])
    with torch.device("meta"):
        model = Perceiver(settings.model, specs(settings, {}), classes=1000)
    return settings, flops(settings.model, model.positions, model.channels)


def sample_bytes(settings: Any) -> int:
    """Bytes of a stored sample: raw pixels of an image or of all frames of a clip, 16-bit sound."""
    data = settings.data
    pixels = 3 * data.image.size**2 if "image" in data.modalities else 0
    frames = int(data.video.rate * data.video.max_seconds)
    moving = 3 * data.video.size**2 * frames if "video" in data.modalities else 0
    sound = 2 * int(data.audio.rate * data.audio.max_seconds) if "audio" in data.modalities else 0
    return pixels + moving + sound + BESIDE


def costs(one: Plan, prices: Prices) -> Mapping[str, float]:
    """What each stage of one plan costs."""
    writing, reading = prices.put / 1000, prices.get / 1000
    return {
        "list and plan": one.lists * writing + (one.list_hours + one.plan_hours) * prices.core_hour,
        "shard": one.shard_core_hours * prices.core_hour + one.raw_gets * reading + one.puts * writing,
        "keep the shards, a month": one.gib * prices.gib_month,
        "train, shards cached": one.train_gpu_hours * prices.gpu_hour + one.whole_gets * reading,
        "more without a cache": one.range_gets * reading,
        "evaluate, 1 % of the samples": one.train_gpu_hours
        * prices.gpu_hour
        / BACKWARD
        / one.case.epochs
        / 100,
    }


def wanted(one: Plan, gpus: int) -> float:
    """Samples a second that keep the GPUs busy."""
    return one.case.samples * one.case.epochs / (one.train_gpu_hours * 3600) * gpus
