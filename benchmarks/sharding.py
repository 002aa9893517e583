"""Compares who makes shards of raw images, and prints a table a kind.

    python -m benchmarks.sharding [--kinds small photos] [--rounds 3] [--only ours pool] [--raw FOLDER]

Kinds: small (20,000 JPEGs of 64-256 px) and photos (6,000 of about 500 px), made on the first run and kept in
--work; or the .jpg files of FOLDER (class/file). Every contestant works alone in a fresh process, in rotated
order, a round each; what it wrote is counted, then removed. Seconds on the clock from the raw folder to the
last shard, all imported and Ray started; `start` is what that took. `ours, first` is the first data set of a
Ray session, `ours` any other. A ratio is the median over the rounds of theirs / ours, its least and most.
Needs a quiet machine: Ray's workers have nice 15, so that any other process goes before them.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import raw, writers
from benchmarks.additions import added
from benchmarks.model import machine, rotations
from benchmarks.packages import fetched, version
from benchmarks.sharders import CONTESTANTS, PACKAGES, SEVERAL, Job
from benchmarks.tree import Meter

Result = dict[str, Any]
OUT = Path("benchmarks/results/sharding.json")
WORK = Path("build/bench-sharding")
CPUS = 2
SHARD = {"small": 1000, "photos": 250, "raw": 250}
FEW = 5_000

WANTED = {
    ("photos", "pool"): 0.85,
    ("small", "pool"): 0.75,
    ("small", "img2dataset"): 1.5,
    ("small", "write_webdataset"): 1.0,
    ("photos", "write_webdataset"): 1.0,
}
"""Ours must reach this many times the contestant's speed."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is asked for, print a table a kind, merge the JSON."""
    options = parsed(words)
    folders = {"raw": options.raw} if options.raw else {
        kind: raw.made(kind, options.work, options.files) for kind in options.kinds
    }  # fmt: skip
    for kind, folder in folders.items():
        side = raw.KINDS[kind].stored if kind in raw.KINDS else 224
        result = measured(kind, folder, side, options)
        record(options.out, kind, result)
        print(f"{table(kind, result)}\n", flush=True)
    if not options.only:
        for name, part in (
            ("writers", writers.compared()),
            ("memory", memory(options)),
            ("added", extra(options)),
        ):
            record(options.out, name, part)
            print(f"{name}: {json.dumps(part)}", flush=True)


def parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="*", default=list(raw.KINDS), choices=list(raw.KINDS))
    parser.add_argument("--files", type=int, default=0, help="of each kind; default: as the kind says")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=list(CONTESTANTS), help="contestants; default: all")
    parser.add_argument("--raw", type=Path, help="your own folder class/file.jpg instead of the kinds")
    parser.add_argument("--work", type=Path, default=WORK, help="raw files and outputs")
    parser.add_argument("--out", type=Path, default=OUT, help="results are merged into it")
    return parser.parse_args(words)


def measured(kind: str, folder: Path, side: int, options: argparse.Namespace) -> Result:
    """All rounds of all contestants."""
    names = options.only or list(CONTESTANTS)
    count = len(list(folder.rglob("*.jpg")))
    list(map(Path.read_bytes, folder.rglob("*.jpg")))  # The page cache holds them for the first one too.
    runs: dict[str, list[Result]] = {name: [] for name in names}
    for order in rotations(names, options.rounds):
        for who in order:
            runs[who].append(one(who, folder, side, SHARD[kind], options.work, count))
            print(f"  {kind}: {who} {runs[who][-1]['wall']:.1f} s", file=sys.stderr, flush=True)
    return {
        "files": count,
        "side": side,
        "shard": SHARD[kind],
        "machine": {
            **machine(1),
            "processes": CPUS,
            "peers": {one: version(one) for one in PACKAGES.values()},
        },
        "contestants": {who: summary(of, count) for who, of in runs.items()},
        "ratios": ratios(runs),
        "wanted": {who: least for (where, who), least in WANTED.items() if where == kind and who in names},
    }


def one(who: str, folder: Path, side: int, shard: int, work: Path, count: int) -> Result:
    """One contestant, once, in a fresh process, when the disk has nothing left to write."""
    os.sync()
    with tempfile.TemporaryDirectory(dir=work, prefix="out-") as out:
        job = Job(
            who=who,
            raw=str(folder.absolute()),
            out=str(Path(out).absolute()),
            side=side,
            shard=shard,
            cpus=CPUS,
        )
        started = time.perf_counter()
        with playing(job) as process:
            answer(process, who)
            start = time.perf_counter() - started
            meter = Meter(process.pid)
            meter.start()
            began = time.perf_counter()
            said = told(process, who)
            wall = time.perf_counter() - began
            used = meter.stop()
            found = told(process, who)["samples"]
        if found != count:
            sys.exit(f"{who} wrote {found} samples of {count}")
    return {"wall": wall, "start": start, **asdict(used), **said}


@contextlib.contextmanager
def playing(job: Job) -> Iterator["subprocess.Popen[str]"]:
    """The contestant's process; what it prints to the screen is shown only where it fails."""
    path = [str(fetched(PACKAGES[job.who]))] if job.who in PACKAGES else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.sharders", json.dumps(asdict(job))]
    with tempfile.TemporaryFile("w+") as screen:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=screen, text=True, env=environment
        )
        try:
            with process:
                yield process
                process.communicate()
        except BrokenPipeError:
            screen.seek(0)
            sys.exit(f"{job.who} failed:\n{screen.read()[-3000:]}")


def told(process: "subprocess.Popen[str]", who: str) -> Result:
    """Let it take the next step."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return answer(process, who)


def answer(process: "subprocess.Popen[str]", who: str) -> Result:
    """What it says; a process that says nothing has failed."""
    assert process.stdout is not None
    if not (line := process.stdout.readline()):
        raise BrokenPipeError(who)
    return json.loads(line)


def summary(runs: list[Result], count: int) -> Result:
    """Medians, with least and most of the seconds on the clock."""
    walls = [run["wall"] for run in runs]
    figures = {name: statistics.median(run[name] for run in runs) for name in runs[0]}
    spread = [round(figure(walls), 3) for figure in (min, max)]
    return {
        **{name: round(value, 3) for name, value in figures.items()},
        "walls": spread,
        "per_second": round(count / figures["wall"], 1),
        "per_cpu_second": round(count / figures["cpu"], 1),
    }


def ratios(runs: dict[str, list[Result]]) -> Result:
    """Seconds of every contestant in those of ours, round by round."""
    if "ours" not in runs:
        return {}
    found: Result = {}
    for who, theirs in runs.items():
        each = [their["wall"] / our["wall"] for their, our in zip(theirs, runs["ours"], strict=True)]
        found[who] = [round(figure(each), 3) for figure in (statistics.median, min, max)]
    return found


def memory(options: argparse.Namespace) -> Result:
    """MiB of the largest worker of ours, for few files and for all."""
    whole = raw.made("small", options.work, options.files)
    some = raw.first(whole, FEW, options.work / f"small-first-{FEW}")
    found: Result = {}
    for folder in (some, whole):
        count = len(list(folder.rglob("*.jpg")))
        run = one("ours", folder, raw.KINDS["small"].stored, SHARD["small"], options.work, count)
        found[str(count)] = round(run["worker_mib"], 1)
    return found


def extra(options: argparse.Namespace) -> Result:
    """What it costs to add one file in a hundred."""
    return added(raw.made("small", options.work, options.files), options.work, raw.KINDS["small"].stored)


def record(out: Path, name: str, part: Result) -> None:
    """Merge one part into the file."""
    whole = json.loads(out.read_text()) if out.exists() else {}
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    aside.write_text(json.dumps({**whole, name: part}, indent=1) + "\n")
    aside.replace(out)


def table(kind: str, result: Result) -> str:
    """One row a contestant, aligned; the ratios say how many times ours it takes."""
    lines = [("", "processes", "start s", "wall s", "(least..most)", "samples/s", "CPU s", "samples/CPU s",
              "x ours", "(least..most)", "wanted", "worker MiB")]  # fmt: skip
    lines += [row(who, one, result) for who, one in result["contestants"].items()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{kind}: {result['files']:,} files, stored {result['side']} x {result['side']}"]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        text.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
    return "\n".join(text)


def row(who: str, figures: Result, result: Result) -> tuple[str, ...]:
    """The cells of one contestant."""
    median, least, most = result["ratios"].get(who, (0.0, 0.0, 0.0))
    return (
        who,
        str(CPUS if who in SEVERAL else 1),
        f"{figures['start']:.1f}",
        f"{figures['wall']:.2f}",
        "{:.2f}..{:.2f}".format(*figures["walls"]),
        f"{figures['per_second']:,.0f}",
        f"{figures['cpu']:.1f}",
        f"{figures['per_cpu_second']:,.0f}",
        f"{median:.2f}",
        f"{least:.2f}..{most:.2f}",
        f"{result['wanted'][who]:.2f}" if who in result["wanted"] else "",
        f"{figures['worker_mib']:.0f}",
    )


if __name__ == "__main__":
    main()
