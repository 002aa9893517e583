"""What large sets need, from measured unit costs: storage, hours, GPUs, requests, and money for each stage.

    python -m benchmarks.plan_costs [--gpu-hour 3.0] [--core-hour 0.05] [--utilisation 0.3] ...
    python -m benchmarks.plan_costs --measure 12

Prints the tables of docs/planning.md. Nothing of the large sets was run. With --measure it decodes so many
clips first, as sharding does, and keeps the cost of one in benchmarks/results/clip.json.
"""

import argparse
import hashlib
import io
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

import numpy as np

from benchmarks.large_sets import (
    AT_ONCE,
    CASES,
    RESULTS,
    RUNS,
    Assumed,
    Plan,
    Prices,
    costs,
    plan,
    wanted,
)


def needs(plans: Sequence[Plan], assumed: Assumed) -> str:
    """Storage, hours, GPUs, requests."""
    gpus, cores = assumed.gpus, assumed.cores
    rows: dict[str, Callable[[Plan], str]] = {
        "samples": lambda one: f"{one.case.samples:,}",
        "a stored sample": lambda one: f"{one.sample_bytes / 1e6:,.2f} MB",
        "shards": lambda one: f"{one.shards:,}, {one.gib / 1024:,.2f} TiB",
        f"listing the bucket, {AT_ONCE} pages at a time": lambda one: hours(one.list_hours),
        "planning, one process": lambda one: f"{hours(one.plan_hours)}, {one.plan_gib:.1f} GiB",
        "sharding": lambda one: f"{one.shard_core_hours:,.0f} core hours",
        f"sharding on {cores} cores": lambda one: hours(one.shard_core_hours / cores),
        "operations a sample, forward": lambda one: f"{one.forward / 1e9:,.0f} G",
        "epochs": lambda one: f"{one.case.epochs}",
        "training": lambda one: f"{one.train_gpu_hours:,.0f} GPU hours",
        f"training on {gpus} GPUs": lambda one: hours(one.train_gpu_hours / gpus),
        f"samples a second that {gpus} GPUs want": lambda one: f"{wanted(one, gpus):,.0f}",
        "read by a node of 8 GPUs": lambda one: f"{one.node_bytes / 1e9:,.2f} GB/s",
        "its cores that copy": lambda one: f"{one.copying_cores:,.1f}",
        f"training, if its drive gives {assumed.drive / 1e9:.0f} GB/s": lambda one: hours(
            max(one.drive_hours, one.train_gpu_hours / gpus)
        ),
        "all shards on each node's drive": lambda one: f"{one.node_tib:,.2f} TiB",
        "index in the memory of each rank": lambda one: f"{one.rank_gib:.2f} GiB",
        "requests: listing": lambda one: f"{one.lists:,}",
        "requests: reading raw files": lambda one: f"{one.raw_gets:,}",
        "requests: writing shards": lambda one: f"{one.puts:,}",
        "requests: shards to each node's cache": lambda one: f"{one.whole_gets:,}",
        "requests: training without a cache, at most": lambda one: f"{one.range_gets:,}",
    }
    return table(
        [one.case.name for one in plans], {name: [say(one) for one in plans] for name, say in rows.items()}
    )


def money(plans: Sequence[Plan], prices: Prices) -> str:
    """Dollars for each stage."""
    stages = [costs(one, prices) for one in plans]
    rows = {name: [f"${stage[name]:,.0f}" for stage in stages] for name in stages[0]}
    return table([one.case.name for one in plans], rows)


def hours(value: float) -> str:
    """In the unit that fits."""
    return (
        f"{value / 24:,.1f} days"
        if value >= 48
        else f"{value:,.1f} h"
        if value >= 1
        else f"{60 * value:,.1f} min"
    )


def table(columns: Sequence[str], rows: Mapping[str, Sequence[str]]) -> str:
    """Markdown."""
    lines = [
        ["", *columns],
        ["---", *("---:" for _ in columns)],
        *([name, *cells] for name, cells in rows.items()),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measure(count: int) -> None:
    """Decode and hash so many clips as sharding does, and keep what one costs in CPU time."""
    from pipelines.settings import read
    from preprocessing.decoders import audio, video
    from preprocessing.source import Source

    data = read(str(RUNS / "audioset.toml"), []).data
    source = Source(data=clip(seconds=10, rate=25, size=(340, 256)), suffix=".mp4")
    began = time.process_time()
    for _ in range(count):
        for array in (video.decode(source, data.video), audio.decode(source, data.audio)):
            hashlib.sha256(array.tobytes()).digest()
    seconds = (time.process_time() - began) / count
    facts = {"clips": count, "bytes": len(source.data), "per_cpu_second": round(1 / seconds, 3)}
    (RESULTS / "clip.json").write_text(json.dumps(facts, indent=1) + "\n")


def clip(seconds: int, rate: int, size: tuple[int, int]) -> bytes:
    """H.264 with waves that move under a little noise, and AAC at 48 kHz."""
    import av

    random, file = np.random.default_rng(0), io.BytesIO()
    across, down = np.meshgrid(np.linspace(0, 20, size[0]), np.linspace(0, 15, size[1]))
    with av.open(file, "w", "mp4") as out:
        pictures, sounds = out.add_stream("libx264", rate), out.add_stream("aac", 48_000, layout="mono")
        pictures.width, pictures.height, pictures.pix_fmt = *size, "yuv420p"
        for number in range(seconds * rate):
            waves = [128 + 90 * np.sin(across * (1 + one) + down + number / 9) for one in range(3)]
            pixels = np.stack(waves, -1) + random.normal(0, 6, (*size[::-1], 3))
            frame = av.VideoFrame.from_ndarray(pixels.clip(0, 255).astype(np.uint8))
            out.mux(pictures.encode(frame))
        out.mux(pictures.encode())
        noise = random.normal(0, 0.1, (1, 48_000 * seconds)).astype(np.float32)
        heard = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
        heard.rate = 48_000
        for part in av.AudioResampler(sounds.format, "mono", 48_000, sounds.frame_size).resample(heard):
            out.mux(sounds.encode(part))
        out.mux(sounds.encode())
    return file.getvalue()


def chosen(words: Sequence[str] | None) -> tuple[Assumed, Prices, int]:
    """The options; the last is how many clips are measured first."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for kind in (Assumed, Prices):
        for one in fields(kind):
            parser.add_argument(
                f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default
            )
    parser.add_argument("--measure", type=int, default=0)
    options = vars(parser.parse_args(words))
    assumed = Assumed(**{one.name: options[one.name] for one in fields(Assumed)})
    prices = Prices(**{one.name: options[one.name] for one in fields(Prices)})
    return assumed, prices, options["measure"]


def main(words: Sequence[str] | None = None) -> None:
    """Print both tables."""
    assumed, prices, count = chosen(words)
    if count:
        measure(count)
    plans = [plan(case, assumed) for case in CASES]
    print(f"{needs(plans, assumed)}\n\n{money(plans, prices)}")


if __name__ == "__main__":
    main()
