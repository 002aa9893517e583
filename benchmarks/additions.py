"""What it costs to add one raw file in a hundred: files decoded, CPU seconds of the tasks, shards touched."""

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import raw
from benchmarks.sharders import Job, ray_session, settings_of, silent
from benchmarks.tree import total, tree

FILES = 10_000
MORE = 100


def added(whole: Path, work: Path, side: int) -> dict[str, Any]:
    """Shard, add, shard again; wanted: at most 3 % of the decode work, and old shards as they were."""
    files, more = min(FILES, 50 * len(list(whole.rglob("*.jpg"))) // 51), MORE
    with tempfile.TemporaryDirectory(dir=work, prefix="added-") as folder:
        here, later = (
            raw.first(whole, files, Path(folder, "raw")),
            raw.first(whole, files + more, Path(folder, "more")),
        )
        out = str(Path(folder, "shards").absolute())
        job = Job(who="ours", raw=str(here.absolute()), out=out, side=side, shard=1000, cpus=2)
        with ray_session(job, used=True):
            first = sharded(job)
            before = state(Path(out))
            for path in later.rglob("*.jpg"):
                if not (target := here / path.relative_to(later)).exists():
                    shutil.copy2(path, target)
            second = sharded(job)
        after = state(Path(out))
    kept = all(after.get(name) == facts for name, facts in before.items())
    share = {what: round(second[what] / first[what], 4) for what in ("decoded", "task_cpu", "wall")}
    return {"full": first, "added": second, "share": share, "wanted": 0.03, "old_shards_as_they_were": kept}


def sharded(job: Job) -> dict[str, float]:
    """Our job on Ray, with what its tasks did."""
    from preprocessing.job import on_ray, shard_with

    done = {"decoded": 0.0, "task_cpu": 0.0}

    def counting(task: Callable[[str], Any], texts: list[str]) -> Iterator[dict[str, Any]]:
        results: Iterable[dict[str, Any]] = on_ray(partial(timed, task=task), texts)
        for result in results:
            done["decoded"] += result.get("planned", 0)
            done["task_cpu"] += result["cpu"]
            yield result

    began = time.perf_counter()
    shard_with(counting, settings_of(job), job.out, silent)
    return {**done, "wall": round(time.perf_counter() - began, 3)}


def timed(text: str, *, task: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """A task with the CPU seconds of this process and of those that decode for it."""
    began = total(tree(os.getpid()))
    return {**task(text), "cpu": total(tree(os.getpid())) - began}


def state(place: Path) -> dict[str, tuple[int, str]]:
    """Time of change and content of every shard."""
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in place.glob("*.tar")
    }
