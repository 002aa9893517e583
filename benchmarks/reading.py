"""How fast shards become ready batches, beside other loaders and the limit: the page cache's own copy.

    python -m benchmarks.reading [WHO ...] [--samples 4000] [--rounds 7] [--out FILE]

Samples are 224x224x3 bytes of noise, a batch is 64 of them in one uint8 array [B, 224, 224, 3]. In each round
every tool opens its files anew and reads all samples three times (Ray Data once), mixed as well as it can.
All files are in the page cache (600 MB a format). Each contestant has a process of its own, bound to one core
("-2": two threads on two cores). Rounds are interleaved: each runs every contestant once, in rotated order;
the first one is not counted, it proves that all read the same samples.

Rates are samples a second of CPU time (robust on a busy machine), on the clock for two cores and for Ray,
whose work is done by other processes. A ratio is the median over the rounds, with its least and most. "First"
is the time from opening to the first batch; the index is of so many samples as there are. MosaicML Streaming
and litdata are put into build/peers at the first run, webdataset is among the packages for tests.
"""

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from benchmarks.loaders import BATCH, CONTESTANTS, SIDE, SIZE
from benchmarks.peer_loaders import NEEDS, PEERS, installed
from benchmarks.shards_by_hand import Given, noise, write

Result = dict[str, Any]
OUT = Path("benchmarks/results/reading.json")
HOME = Path("build/bench-reading")
SHARDS = 16
FIELD = {**CONTESTANTS, **PEERS}
LIMIT = {1: "limit", 2: "limit-2"}
OURS = {1: "ours", 2: "ours-2"}


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print the table, write the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("who", nargs="*", metavar="WHO", help=f"of {', '.join(FIELD)}; default: all")
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=7, help="rounds that count")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args(words)
    for who in options.who:
        if who not in FIELD:
            sys.exit(f"no contestant {who!r}: there are {', '.join(FIELD)}")
    asked = [who for who in FIELD if who in (*OURS.values(), *LIMIT.values(), *(options.who or FIELD))]
    result = measured(asked, made(options.samples), options.rounds)
    record(options.out, result)
    print(table(result))


def made(samples: int) -> Path:
    """The folder of the shards, made where it is missing."""
    folder = HOME / str(samples)
    if not (folder / "shards" / "manifest.json").exists():
        given = [Given(arrays={"image": noise(at)}) for at in range(samples)]
        write(folder / "shards", [given], shard_size=-(-samples // SHARDS))
    return folder


def measured(names: Sequence[str], folder: Path, rounds: int) -> Result:
    """Every contestant in every round."""
    took: dict[str, list[Result]] = {}
    left_out: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        field: dict[str, Process] = {}
        proof: tuple[int, int] | None = None
        for who in names:
            try:
                process = stack.enter_context(Process(who, folder))
                first = process.turn(seed=0, passes=1, check=True)
            except (subprocess.CalledProcessError, EOFError) as reason:
                left_out[who] = str(reason)
                continue
            proof = proof or (first["samples"], first["sum"])
            if (first["samples"], first["sum"]) != proof:
                sys.exit(
                    f"{who} read {first['samples']} samples, others {proof[0]}; or they are not the same"
                )
            field[who], took[who] = process, []
        for number, order in enumerate(rotations(list(field), rounds), 1):
            for who in order:
                took[who].append(field[who].turn(seed=number, passes=FIELD[who].passes, check=False))
    return {
        "about": f"{SIDE}x{SIDE}x3 uint8, batches of {BATCH}, from shards in the page cache to ready batches",
        "samples": proof[0] if proof else 0,
        "rounds": rounds,
        "machine": machine(),
        "contestants": compared(took),
        "left_out": left_out,
    }


def rotations(names: list[str], rounds: int) -> Iterator[list[str]]:
    """Every round begins with another contestant."""
    for number in range(rounds):
        start = number % len(names)
        yield names[start:] + names[:start]


def compared(took: dict[str, list[Result]]) -> dict[str, Result]:
    """Rates and ratios, to the limit and to ours on as many cores."""
    rates = {who: [one["samples"] / one[clock(who)] for one in rounds] for who, rounds in took.items()}
    walls = {who: [one["samples"] / one["wall"] for one in rounds] for who, rounds in took.items()}
    return {
        who: {
            "order": FIELD[who].order,
            "cores": FIELD[who].cores,
            "passes": FIELD[who].passes,
            "clock": clock(who),
            "samples_per_second": spread(rates[who]),
            "bytes_per_second": round(statistics.median(rates[who]) * SIZE),
            "of_the_limit": ratio(who, LIMIT, walls if clock(who) == "wall" else rates),
            "of_ours": ratio(who, OURS, walls if clock(who) == "wall" else rates),
            "first_batch_ms": spread([1000 * one["first"] for one in rounds]),
            "cpu": [round(one["cpu"], 4) for one in rounds],
            "wall": [round(one["wall"], 4) for one in rounds],
        }
        for who, rounds in took.items()
    }


def clock(who: str) -> str:
    """Whose seconds count."""
    return "wall" if FIELD[who].cores > 1 or who == "ray-data" else "cpu"


def ratio(who: str, others: dict[int, str], rates: dict[str, list[float]]) -> list[float]:
    """Median, least and most of the rounds' ratios."""
    theirs = rates[others[FIELD[who].cores]]
    return spread([mine / other for mine, other in zip(rates[who], theirs, strict=True)])


def spread(values: Sequence[float]) -> list[float]:
    """Median, least, most."""
    return [float(f"{figure(values):.4g}") for figure in (statistics.median, min, max)]


class Process:
    """A contestant in a process of its own; to be closed."""

    def __init__(self, who: str, folder: Path) -> None:
        self.log = folder / f"{who}.log"
        parts = [str(installed(who))] if who in NEEDS else []
        search = os.pathsep.join([*parts, os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.loaders", who, str(folder)],
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": search, "RAY_USAGE_STATS_ENABLED": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )

    def turn(self, **command: int | bool) -> Result:
        """All samples so many times."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(command), file=self.process.stdin, flush=True)
        reply = self.process.stdout.readline()
        if not reply:
            raise EOFError(f"its process ended with status {self.process.wait()}, see {self.log}")
        return json.loads(reply)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.__exit__(None, None, None)


def machine() -> Result:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {needs.package: needs.version for needs in NEEDS.values()}
    for package in ("numpy", "pyarrow", "ray", "torch", "webdataset"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "versions": {**versions, "python": platform.python_version()},
        "date": datetime.now(UTC).date().isoformat(),
    }


def record(out: Path, result: Result) -> None:
    """Write the file whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    aside.write_text(json.dumps(result, indent=1) + "\n")
    aside.replace(out)


def table(result: Result) -> str:
    """One row a contestant, aligned."""
    header = (
        "",
        "samples/s",
        "(least..most)",
        "MB/s",
        "of the limit",
        "ours is x",
        "first ms",
        "clock",
        "mixed over",
    )
    lines = [header, *(row(who, one) for who, one in result["contestants"].items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{result['about']} ({result['samples']:,} samples, {result['rounds']} rounds)"]
    for first, *cells, last in lines:
        middle = [cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True)]
        text.append("  ".join(["  " + first.ljust(widths[0]), *middle, last]).rstrip())
    text += [f"  {who} left out: {reason}" for who, reason in result["left_out"].items()]
    return "\n".join(text)


def row(who: str, one: Result) -> tuple[str, ...]:
    """The cells of one contestant."""
    median, least, most = one["samples_per_second"]
    return (
        who,
        f"{median:,.0f}",
        f"{least:,.0f}..{most:,.0f}",
        f"{one['bytes_per_second'] / 1e6:,.0f}",
        f"{one['of_the_limit'][0]:.2f}",
        f"{1 / one['of_ours'][0]:.2f}",
        f"{one['first_batch_ms'][0]:,.1f}",
        one["clock"],
        one["order"],
    )


if __name__ == "__main__":
    main()
