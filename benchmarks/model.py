"""What the model costs beside the public Perceivers: time and memory, the same network in all of them.

    python -m benchmarks.model [CASE ...] [--rounds N] [--threads 1] [--out FILE]
    python -m benchmarks.model --list

A CASE may be a pattern ('image-*'); without one, all are measured (hours). Peers: pip install -e '.[peers]'.
Rounds are interleaved: each runs every contestant once, in rotated order; the first one is not counted.
Seconds are those of the CPU with one thread (robust on a busy machine), else of the clock; a ratio is the
median over the rounds of theirs / ours, and its least and most. Peak memory is of one forward and backward,
gradients included, above the built network and the stored samples, in a fresh process; "kept" is the same
with the holes that malloc leaves between what was freed and what is used. Peers read a ready byte array
(lucidrains also makes its own; the faster counts), which is in their memory, but its making not in their
time. Ours reads the stored samples in both.
"""

import argparse
import contextlib
import dataclasses
import fnmatch
import importlib.metadata
import itertools
import json
import math
import platform
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import CASES, GROWTH, Case
from benchmarks.contestant import Job, Local, RefusedError, Remote, Seconds, ours, prepare

Result = dict[str, Any]
OUT = Path("benchmarks/results/model.json")

GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
"""What is freed goes back to the system at once: what a step needs, without the holes of an allocator."""

SAME = 1e-3
"""Float32 in another order gives 1e-6, lucidrains' features of float32 positions 1e-5."""


def main(words: Sequence[str] | None = None) -> None:
    """Measure what is asked for, print a table a case, merge the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cases", nargs="*", metavar="CASE", default=["*"])
    parser.add_argument("--rounds", type=int, help="rounds that count; default: as the case says")
    parser.add_argument("--threads", type=int, default=1, help="of torch, for every contestant")
    parser.add_argument("--out", type=Path, default=OUT, help="results are merged into it case by case")
    parser.add_argument("--list", action="store_true", help="list the cases and stop")
    options = parser.parse_args(words)
    if options.list:
        print("\n".join(f"{name:16}{case.about}" for name, case in CASES.items()))
        return
    for name in chosen(options.cases):
        case = CASES[name]
        if options.rounds:
            case = dataclasses.replace(case, rounds=options.rounds)
        result = measured(case, options.threads)
        record(options.out, name, result)
        print(f"{table(name, result)}\n", flush=True)


def chosen(patterns: Sequence[str]) -> list[str]:
    """The cases that the patterns name, in the order of CASES."""
    for pattern in patterns:
        if not fnmatch.filter(CASES, pattern):
            sys.exit(f"no case {pattern!r}: there are {', '.join(CASES)}")
    return [name for name in CASES if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]


def measured(case: Case, threads: int) -> Result:
    """Time in interleaved rounds, then memory in fresh processes."""
    with tempfile.TemporaryDirectory() as folder:
        if not all(map(ours, case.contestants)):
            prepare(case, Path(folder))
        jobs = {
            who: Job(who=who, case=case, folder=folder, threads=threads)
            for who in dict.fromkeys(case.contestants)
        }
        times, left_out = timed(jobs, case.rounds)
        for who in times:
            times[who] |= {"peak_mib": peak(jobs[who], GIVEN_BACK), "kept_mib": peak(jobs[who], {})}
    return {
        "about": case.about,
        "shape": shape(case),
        "machine": machine(threads),
        "seconds": "cpu" if threads == 1 else "wall",
        "rounds": case.rounds,
        "contestants": compared(times, "cpu" if threads == 1 else "wall"),
        "left_out": left_out,
    }


def peak(job: Job, environment: Mapping[str, str]) -> float:
    """MiB of one step in a fresh process."""
    with Remote(dataclasses.replace(job, weights=False), environment) as alone:
        return round(alone.peak(), 1)


def timed(jobs: dict[str, Job], rounds: int) -> tuple[dict[str, Result], dict[str, str]]:
    """Seconds of every round of every contestant; and who could not take part, and why."""
    with contextlib.ExitStack() as stack:
        field: dict[str, Local | Remote] = {}
        results: dict[str, Result] = {}
        left_out: dict[str, str] = {}
        reference: list[float] = []
        for who, job in jobs.items():
            try:
                field[who] = stack.enter_context(Remote(job)) if who == "krasserm" else Local(job)
            except RefusedError as reason:
                left_out[who] = str(reason)
                continue
            answer = field[who].answer()
            reference = reference or answer
            results[who] = {
                "parameters": field[who].parameters,
                "differs": difference(who, answer, reference),
                "forward": {"cpu": [], "wall": []},
                "step": {"cpu": [], "wall": []},
            }
        for number, order in enumerate(rotations(list(field), rounds + 1)):
            for who in order:
                took = {"forward": field[who].forward(), "step": field[who].step()}
                if number:
                    keep(results[who], took)
    return results, left_out


def rotations(names: list[str], rounds: int) -> Iterator[list[str]]:
    """Every round begins with another contestant."""
    for start in itertools.islice(itertools.cycle(range(len(names))), rounds):
        yield names[start:] + names[:start]


def keep(result: Result, took: dict[str, Seconds]) -> None:
    """Add one round's seconds."""
    for work, seconds in took.items():
        result[work]["cpu"].append(round(seconds.cpu, 6))
        result[work]["wall"].append(round(seconds.wall, 6))


def difference(who: str, answer: Sequence[float], reference: Sequence[float]) -> float:
    """The largest difference to ours, as a share of our largest value: all must compute the same function."""
    apart = np.abs(np.subtract(answer, reference)).max() / np.abs(reference).max()
    if not apart < SAME:
        sys.exit(f"{who} computes something else than ours: its answer is off by {apart:.0e} of the largest")
    return float(f"{apart:.1e}")


def compared(results: dict[str, Result], clock: str) -> dict[str, Result]:
    """Medians, and ratios to the first contestant; of lucidrains' two ways the faster."""
    first = next(iter(results.values()))
    for result in results.values():
        for work in ("forward", "step"):
            times, ours_ = result[work][clock], first[work][clock]
            ratios = [theirs / mine for theirs, mine in zip(times, ours_, strict=True)]
            result[work]["median"] = round(statistics.median(times), 6)
            result[work]["ratio"] = [round(figure(ratios), 3) for figure in (statistics.median, min, max)]
        for memory in ("peak", "kept"):
            here, there = result[f"{memory}_mib"], first[f"{memory}_mib"]
            result[f"{memory}_ratio"] = round(here / max(there, 0.1), 3)
    ways = [who for who in ("lucidrains", "lucidrains-ready") if who in results]
    if len(ways) == 2:
        slower = max(ways, key=lambda who: results[who]["step"]["median"])
        results[slower]["set_aside"] = "its other way is faster"
    return results


def shape(case: Case) -> dict[str, Any]:
    """The geometry, without what is no part of it."""
    facts = dataclasses.asdict(case)
    return {"positions": case.positions} | {
        name: fact for name, fact in facts.items() if name not in ("about", "contestants", "rounds")
    }


def machine(threads: int) -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    from benchmarks.peers import KRASSERM

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    versions = {"perceiver-io": KRASSERM, "torch": torch.__version__, "python": platform.python_version()}
    for package in ("perceiver-pytorch", "transformers", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return {
        "cpu": models[0] if models else platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "versions": versions,
        "date": datetime.now(UTC).date().isoformat(),
    }


def record(out: Path, name: str, result: Result) -> None:
    """Merge one case into the file, and draw the growth from all that is there."""
    cases = json.loads(out.read_text())["cases"] if out.exists() else {}
    cases[name] = result
    whole = {"cases": {name: cases[name] for name in CASES if name in cases}, "growth": growth(cases)}
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.part")
    aside.write_text(json.dumps(whole, indent=1) + "\n")
    aside.replace(out)


def growth(cases: dict[str, Result]) -> Result:
    """For each axis and contestant: what it costs at each size, and the exponents (slopes on log-log)."""
    found: Result = {}
    for axis, names in GROWTH.items():
        there = [cases[name] for name in names if name in cases]
        shared = [who for who in (there[0]["contestants"] if there else {}) if on_all(who, there)]
        if len(there) > 1:
            sizes = [case["shape"][axis] for case in there]
            found[axis] = {who: grown(who, sizes, there) for who in shared}
    return found


def on_all(who: str, cases: Sequence[Result]) -> bool:
    """Whether the contestant took part in every case."""
    return all(who in case["contestants"] for case in cases)


def grown(who: str, sizes: list[int], cases: Sequence[Result]) -> Result:
    """One contestant along one axis; `end` is the exponent between the two largest sizes alone."""
    mine = [case["contestants"][who] for case in cases]
    along = {
        "forward": [one["forward"]["median"] for one in mine],
        "step": [one["step"]["median"] for one in mine],
        "peak_mib": [one["peak_mib"] for one in mine],
    }
    return {"sizes": sizes} | {
        what: {
            "at": costs,
            "exponent": exponent(sizes, costs),
            "end": exponent(sizes[-2:], costs[-2:]),
        }
        for what, costs in along.items()
    }


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope on log-log axes: 1 is linear."""
    logs = [[math.log(max(value, 1e-9)) for value in values] for values in (sizes, costs)]
    return round(statistics.linear_regression(*logs).slope, 3)


def table(name: str, result: Result) -> str:
    """One row a contestant, aligned; the ratios say how many times ours it takes."""
    header = ("", "parameters", "forward ms", "x ours", "fwd+bwd ms", "x ours", "(least..most)", "peak MiB",
              "x ours", "kept MiB", "x ours", "differs")  # fmt: skip
    lines = [header, *(row(who, one) for who, one in result["contestants"].items())]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"{name}: {result['about']} (M={result['shape']['positions']:,}, {result['rounds']} rounds)"]
    for first, *others in lines:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        text.append("  ".join(["  " + first.ljust(widths[0]), *cells]).rstrip())
    aside = [
        f"  {who}: {one['set_aside']}" for who, one in result["contestants"].items() if "set_aside" in one
    ]
    left_out = [f"  {who} left out: {reason}" for who, reason in result["left_out"].items()]
    return "\n".join([*text, *aside, *left_out])


def row(who: str, one: Result) -> tuple[str, ...]:
    """The cells of one contestant."""
    forward, step = one["forward"], one["step"]
    return (
        f"({who})" if "set_aside" in one else who,
        f"{one['parameters']:,}",
        f"{1000 * forward['median']:.1f}",
        f"{forward['ratio'][0]:.2f}",
        f"{1000 * step['median']:.1f}",
        f"{step['ratio'][0]:.2f}",
        f"{step['ratio'][1]:.2f}..{step['ratio'][2]:.2f}",
        f"{one['peak_mib']:.1f}",
        f"{one['peak_ratio']:.2f}",
        f"{one['kept_mib']:.1f}",
        f"{one['kept_ratio']:.2f}",
        f"{one['differs']:.0e}",
    )


if __name__ == "__main__":
    main()
