"""Plans data sets of a million paths and more: seconds and memory of the driver; lists a folder.

    python -m benchmarks.planning [--paths 1000000 10000000] [--files 200000] [--out FILE]

Paths come from a generator (`class0007/photo-000012345.jpg`), so nothing of them lies on the disk; what is
written is what the tasks read, one file a shard. Each size is planned in a fresh process, and its memory is
the kernel's high-water mark. The folder that is listed holds empty files, is made first and removed after.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.sharding import OUT, WORK, record

CLASSES = 1000
WANTED_GIB = 4.0


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a line each, merge the JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--paths", type=int, nargs="*", default=[1_000_000, 10_000_000])
    parser.add_argument("--files", type=int, default=200_000, help="of the folder that is listed")
    parser.add_argument("--work", type=Path, default=WORK)
    parser.add_argument("--out", type=Path, default=OUT, help="results are merged into it")
    options = parser.parse_args(words)
    options.work.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"planned": {}, "wanted_gib": WANTED_GIB}
    for count in options.paths:
        result["planned"][count] = alone("planned", count, options.work)
        print(f"{count:,} paths: {json.dumps(result['planned'][count])}", flush=True)
    if options.files:
        result["listed"] = alone("listed", options.files, options.work)
        print(f"{options.files:,} files: {json.dumps(result['listed'])}", flush=True)
    record(options.out, "planning", result)


def alone(what: str, count: int, work: Path) -> dict[str, Any]:
    """One measurement in a fresh process."""
    code = f"from benchmarks import planning; planning.answer(planning.{what}({count}, {str(work)!r}))"
    done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def answer(facts: dict[str, Any]) -> None:
    """With the peak of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({**facts, "peak_gib": round(peak, 3)}))


@dataclass
class Laps:
    """Seconds since the last lap, by name."""

    seconds: dict[str, float] = field(default_factory=dict)
    last: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self.last = round(now - self.last, 2), now


def planned(count: int, work: str) -> dict[str, Any]:
    """What the data job does before its first task, from synthetic entries."""
    from cluster.folder import Folder
    from preprocessing import commit as commits
    from preprocessing.drawing import draw
    from preprocessing.history import Past, match
    from preprocessing.inventory import take
    from preprocessing.plan import plan
    from preprocessing.settings import DataSettings

    settings = DataSettings(raw="")
    laps = Laps()
    inventory = take(entries(count), settings.modalities)
    laps.lap("inventory")
    samples = draw(inventory, None, settings)
    del inventory
    laps.lap("samples")
    with tempfile.TemporaryDirectory(dir=work, prefix="planned-") as place:
        home = Folder(Path(place))
        past = Past.of(None, home)
        matched = match(samples, past, False)
        whole = plan(samples, settings, past, matched, ())
        laps.lap("plan")
        shards = commits.unfinished(home, whole, settings)
        laps.lap("written")
    if sum(len(one.members) for one in shards) != count:
        raise AssertionError("the plan lost paths")
    return {"seconds": laps.seconds, "total": round(sum(laps.seconds.values()), 1), "shards": len(shards)}


def entries(count: int) -> Iterator[Any]:
    """Paths as a listing gives them: in no order."""
    from preprocessing.raw import Entry

    step = 7_919 if count % 7_919 else 7_907  # prime to the count: each number once
    for number in range(count):
        at = number * step % count
        yield Entry(
            f"class{at % CLASSES:04d}/photo-{at:09d}.jpg", 50_000 + at % 9_973, 1_700_000_000_000_000_000 + at
        )


def listed(count: int, work: str) -> dict[str, Any]:
    """Entries a second of a real folder whose names the kernel knows."""
    from preprocessing.raw import raw

    with tempfile.TemporaryDirectory(dir=work, prefix="listed-") as folder:
        for number in range(100):
            Path(folder, f"class{number:02d}").mkdir()
        for number in range(count):
            os.close(os.open(f"{folder}/class{number % 100:02d}/{number:09d}.jpg", os.O_CREAT | os.O_WRONLY))
        laps = Laps()
        found = sum(1 for _ in raw(folder).entries())
        laps.lap("listed")
    if found != count:
        raise AssertionError(f"{found} of {count} files listed")
    return {"seconds": laps.seconds["listed"], "per_second": round(count / laps.seconds["listed"])}


if __name__ == "__main__":
    main()
