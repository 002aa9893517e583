"""What safety costs a training, and how well it feeds and scales, on two cores.

    python -m benchmarks.training [--quick] [--only PART ...] [--out FILE]

overhead    Our loop (checkpoints every 100 steps, points, agreement, guard, accounts) beside one written by
            hand that does the same work: in one process with one torch thread, 20 steps of each in turn, a
            figure every 100 steps. What background threads cost is in none of the parts.
data        The share of a step's time that training stands still for data, by the loop's own account and as
            seen from outside it.
workers     Samples a second of two workers (gloo, one torch thread each) beside one; "apart" are two
            trainings at once that share nothing but the machine, which is what its two cores can give.
checkpoint  How long training stands still for the state of the paper's ImageNet model, and how long it takes
            to be sealed in a folder; beside torch.save and fsync of the same.
recovery    From the SIGKILL of the only worker of a local Ray to the first step that is new.

The settings are those of pipelines/runs, with pictures of noise; the last figure is the median over blocks or
rounds, with least and most.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.bare import Pace, in_turns, steady
from benchmarks.reading import OUT as READING
from benchmarks.reading import Result, machine, record, spread
from benchmarks.surviving import recovered, saved
from pipelines.settings import RunSettings, read
from preprocessing.job import shard_with

OUT = READING.with_name("training.json")
HOME = Path("build/bench-training")
DEMO = "the demo's digits"
NEVER = 1_000_000
USUAL = ["--data.val", "0", "--data.test", "0", "--train.save-every", "100"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A training on generated pictures."""

    run: str
    """Run file in pipelines/runs."""
    pictures: int
    side: int
    """Pixels."""
    steps: int
    """Of the whole run, of which some are measured: points of the curve come every 200th part of it."""
    options: tuple[str, ...] = ()


CASES = {
    "photos of 32": Case(run="cifar10", pictures=2000, side=32, steps=6250),
    "photos of 224": Case(
        run="cifar10", pictures=300, side=224, steps=6250, options=("--model.image.patch", "16")
    ),
    DEMO: Case(run="digits", pictures=1438, side=8, steps=1350),
}


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the tables, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="too short to tell, but everything runs")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(words)
    result: Result = {"about": "pictures of noise, the settings of pipelines/runs", "machine": machine()}
    HOME.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HOME.resolve()) as folder:
        for part in options.only:
            began = time.perf_counter()
            result[part] = PARTS[part](Bench(Path(folder), quick=options.quick))
            print(
                table(f"{part} ({time.perf_counter() - began:.0f} s)", result[part]), end="\n\n", flush=True
            )
    record(options.out, result)


@dataclass(frozen=True)
class Bench:
    """Where things are made, and how thorough to be."""

    folder: Path
    quick: bool

    def settings(self, case: str, *options: str) -> RunSettings:
        """A new training of a case; pictures and shards are made once."""
        one = CASES[DEMO if self.quick else case]
        raw, shards = self.folder / f"raw-{one.side}", self.folder / f"shards-{one.side}"
        words = ["--data.raw", str(raw), "--data.shards", str(shards), "--train.steps", str(one.steps)]
        words += ["--data.image.size", str(one.side), "--workspace", tempfile.mkdtemp(dir=self.folder)]
        settings = read(f"pipelines/runs/{one.run}.toml", [*words, *USUAL, *one.options, *options])
        if not raw.exists():
            draw(raw, one.pictures, one.side)
        shard_with(map, settings.data, settings.shards, silent)
        return settings


def draw(folder: Path, count: int, side: int) -> None:
    """Pictures of noise in ten classes."""
    generator = np.random.default_rng(0)
    for number in range(count):
        path = folder / str(number % 10) / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (side, side, 3), np.uint8)).save(path, compress_level=1)


def silent(*_: object) -> None:
    """Nobody watches the shards being made."""


def apart(*works: Callable[[], Any]) -> list[Any]:
    """What each gives, at the same time in fresh processes of their own."""
    with ProcessPoolExecutor(len(works), mp_context=get_context("spawn")) as pool:
        return [waiting.result() for waiting in [pool.submit(work) for work in works]]


def overhead(bench: Bench) -> list[Result]:
    """Our loop beside the bare one."""
    quick = Pace(turn=4, block=20, blocks=2)
    rows: list[Result] = []
    for case, checkpoints, blocks in (
        ("photos of 32", True, 3), (DEMO, True, 6), (DEMO, False, 6),
    ):  # fmt: skip
        pace = quick if bench.quick else Pace(blocks=blocks)
        every = str(pace.block if checkpoints else NEVER)
        settings = bench.settings(case, "--cluster.workers", "1", "--train.save-every", every)
        (took,) = apart(partial(in_turns, settings, pace))
        ms = took["ms_a_step"]
        rows.append({
            "case": case,
            "checkpoints": checkpoints,
            "bare_ms_a_step": spread(ms["bare"]),
            "ours_ms_a_step": spread(ms["ours"]),
            "overhead": spread([our / their - 1 for our, their in zip(ms["ours"], ms["bare"], strict=True)]),
            "parts_ms_a_step": {part: float(f"{one:.3g}") for part, one in took["parts_ms_a_step"].items()},
            "weights_differ": float(f"{took['weights_differ']:.2g}"),
        })  # fmt: skip
    return rows


def data(bench: Bench) -> list[Result]:
    """Standing still for data while both cores are busy."""
    rows: list[Result] = []
    for case in ("photos of 32", "photos of 224"):
        for workers, threads in ((1, 2), (2, 1)):
            took = [group(bench, case, workers, threads)[0] for _ in range(1 if bench.quick else 2)]
            rows.append({
                "case": case,
                "workers": workers,
                "threads": threads,
                "samples_per_second": spread([one["samples_per_second"] for one in took]),
                "data_wait": spread([one["data_wait"] for one in took]),
                "data_wait_said": spread([one["data_wait_said"] for one in took]),
            })  # fmt: skip
    return rows


def group(
    bench: Bench, case: str, workers: int, threads: int, *options: str, joined: bool = True
) -> list[dict[str, float]]:
    """What each worker saw."""
    settings = bench.settings(case, "--cluster.workers", str(workers if joined else 1), *options)
    work = partial(steady, settings, threads, 20 if bench.quick else 60, world=workers, joined=joined)
    return apart(*(partial(work, rank=rank) for rank in range(workers)))


def workers(bench: Bench) -> list[Result]:
    """Two beside one: with the same global batch, and with the same batch a worker."""
    case = "photos of 32"
    one: list[float] = []
    two: dict[int, list[float]] = {64: [], 128: []}
    divided: list[float] = []
    for _ in range(1 if bench.quick else 3):
        one.append(group(bench, case, 1, 1)[0]["samples_per_second"])
        for batch, found in two.items():
            options = ("--train.batch", str(batch)) if not bench.quick else ()
            found.append(group(bench, case, 2, 1, *options)[0]["samples_per_second"])
        both = group(bench, case, 2, 1, joined=False)
        divided.append(sum(each["samples_per_second"] for each in both))
    return [{
        "case": case,
        "one_samples_per_second": spread(one),
        **{f"two_of_twice_one_batch_{batch}": of_twice(found, one) for batch, found in two.items()},
        "apart_of_twice_one": of_twice(divided, one),
    }]  # fmt: skip


def of_twice(two: Sequence[float], one: Sequence[float]) -> Any:
    """What two reach of twice what one does."""
    return spread([both / (2 * each) for both, each in zip(two, one, strict=True)])


def checkpoint(bench: Bench) -> list[Result]:
    """The state of a model of 45 million parameters."""
    settings = bench.settings(DEMO)
    settings = settings if bench.quick else large(settings)
    (took,) = apart(partial(saved, settings, 3))
    rows = {who: spread(seconds) for who, seconds in took.items() if isinstance(seconds, list)}
    return [{"parameters": took["parameters"], "mib": round(took["bytes"] / 2**20), **rows}]


def large(settings: RunSettings) -> RunSettings:
    """The paper's ImageNet model in these places, with a moving average."""
    places = {"workspace": settings.workspace, "data.raw": settings.data.raw, "data.shards": settings.shards}
    options = {**places, "cluster.gpus-per-worker": "0", "train.ema": "0.999"}
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return read("pipelines/runs/imagenet.toml", words)


def recovery(bench: Bench) -> list[Result]:
    """A worker is killed."""
    settings = bench.settings(DEMO, "--cluster.workers", "1", "--train.steps", "400")
    return apart(partial(recovered, settings, 250))


PARTS: dict[str, Callable[[Bench], list[Result]]] = {
    "overhead": overhead,
    "data": data,
    "workers": workers,
    "checkpoint": checkpoint,
    "recovery": recovery,
}


def table(title: str, rows: Sequence[Result]) -> str:
    """One line a figure: the rows have few, and long names."""
    lines = [title]
    for row in rows:
        lines += [f"  {name.replace('_', ' '):26}{cell(value)}".rstrip() for name, value in row.items()]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A figure with its spread."""
    if isinstance(value, list):
        return f"{value[0]:,.4g}  ({value[1]:,.4g}..{value[2]:,.4g})"
    if isinstance(value, dict):
        return ", ".join(f"{name} {one:g}" for name, one in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    main()
