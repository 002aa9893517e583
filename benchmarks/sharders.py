"""Who makes shards of raw images: each contestant alone in a process of its own, driven over pipes.

    python -m benchmarks.sharders '{"who": "ours", ...}'          (started by `benchmarks.sharding`)

It answers when everything is imported and started, works when it is told to, answers, and then counts what it
wrote. All decode with our decoder (Pillow) and store uint8 arrays, but img2dataset, which has OpenCV and
writes JPEGs again, as it always does.
"""

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

Steps = Iterator[dict[str, Any]]
"""Of a contestant: ready, done (with what it has to say), counted (with `samples`)."""


@dataclass(frozen=True, kw_only=True)
class Job:
    who: str
    """As in CONTESTANTS."""
    raw: str
    """Folder `class/file`."""
    out: str
    """Empty folder."""
    side: int
    """Of the stored pictures, in pixels."""
    shard: int
    """Samples a shard."""
    cpus: int
    """Processes that work at a time, where a contestant can have several."""


def main() -> None:
    """Play the contestant."""
    job = Job(**json.loads(sys.argv[1]))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # What the contestants print is no answer.
    for step in CONTESTANTS[job.who](job):
        print(json.dumps(step), file=answers, flush=True)
        if not sys.stdin.readline():
            return


def files(job: Job) -> list[Path]:
    """The raw files, ordered by name."""
    return sorted(Path(job.raw).rglob("*.jpg"))


def decoded(path: str | Path, side: int) -> Any:
    """One picture as our decoder gives it; needs nothing but Pillow and NumPy."""
    from preprocessing.decoders.image import decode
    from preprocessing.settings import ImageSettings
    from preprocessing.source import Source

    return decode(Source(data=Path(path).read_bytes(), suffix=".jpg"), ImageSettings(size=side))


def silent(done: int, total: int) -> None:
    """Show no progress."""


def members(out: str, ending: str) -> int:
    """Members with this ending in all tars of a folder."""
    found = 0
    for path in Path(out).rglob("*.tar"):
        with tarfile.open(path) as tar:
            found += sum(name.endswith(ending) for name in tar.getnames())
    return found


# ------------------------------------------------------------------------------------------------------ ours


def settings_of(job: Job) -> Any:
    """The data settings of a job."""
    from preprocessing.settings import DataSettings, ImageSettings

    return DataSettings(raw=job.raw, shard_size=job.shard, image=ImageSettings(size=job.side))


def ours(job: Job, *, used: bool) -> Steps:
    """The data job on Ray; `used` is a session in which something was done before."""
    from preprocessing.job import on_ray

    with ray_session(job, used=used):
        yield from sharding(job, on_ray)


def pool(job: Job) -> Steps:
    """The same tasks in a pool of processes that inherit everything: what our job could do at best."""
    yield from sharding(job, partial(in_pool, cpus=job.cpus))


def in_pool(task: Callable[[str], Any], texts: Iterable[str], cpus: int) -> Iterator[Any]:
    """Each text in a process of a pool."""
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(cpus) as processes:
        yield from processes.imap_unordered(task, texts)


def one_process(job: Job) -> Steps:
    """The same tasks one after the other."""
    yield from sharding(job, map)


def sharding(job: Job, spread: Callable[..., Iterable[Any]]) -> Steps:
    """Our job from raw folder to manifest, with its tasks spread in some way."""
    import time

    from preprocessing.job import shard_with

    settings = settings_of(job)
    building: list[float] = []

    def timed(*works: Any) -> Iterator[Any]:
        started = time.perf_counter()
        yield from spread(*works)
        building.append(time.perf_counter() - started)

    yield {}
    shards, _ = shard_with(timed, settings, job.out, silent)
    yield {"building": sum(building)}
    yield {"samples": sum(shards.counts.values())}


class ray_session:  # noqa: N801, used as a function
    """Ray on some CPUs of this machine, away from any other; with its workers started, if it is `used`."""

    def __init__(self, job: Job, *, used: bool) -> None:
        import logging
        import tempfile

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.scratch = tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True)
        facts: Any = {"_temp_dir": self.scratch.name, "logging_level": logging.ERROR}
        ray.init(
            address="local", num_cpus=job.cpus, include_dashboard=False, log_to_driver=False, **facts
        )  # fmt: skip
        ray.data.DataContext.get_current().enable_progress_bars = False
        if used:
            rows = ray.data.from_items([{"side": job.side}] * 4 * job.cpus, override_num_blocks=4 * job.cpus)
            rows.map(warm).materialize()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        import ray

        ray.shutdown()
        self.scratch.cleanup()


def warm(row: dict[str, Any]) -> dict[str, Any]:
    """What a worker does in its first task anyway."""
    import time

    import preprocessing.job  # noqa: F401

    time.sleep(0.3)
    return row


# ----------------------------------------------------------------------------------------------------- peers


def bare(job: Job) -> Steps:
    """Read and decode in one process, keep nothing: the limit of a core."""
    paths = files(job)
    decoded(paths[0], job.side)
    yield {}
    found = sum(decoded(path, job.side).shape == (job.side, job.side, 3) for path in paths)
    yield {}
    yield {"samples": found}


def tar(job: Job) -> Steps:
    """The raw files as they are."""
    yield {}
    subprocess.run(["tar", "-cf", f"{job.out}/raw.tar", "-C", job.raw, "."], check=True)
    yield {}
    yield {"samples": members(job.out, ".jpg")}


def webdataset(job: Job) -> Steps:
    """Its ShardWriter, in the one process that it knows."""
    from webdataset import ShardWriter

    paths = files(job)
    decoded(paths[0], job.side)
    yield {}
    with ShardWriter(f"{job.out}/%06d.tar", maxcount=job.shard, maxsize=2**40, verbose=0) as writer:
        for path in paths:
            facts = {"label": path.parent.name, "source": f"{path.parent.name}/{path.name}"}
            writer.write({"__key__": path.stem, "image.npy": decoded(path, job.side), "json": facts})
    yield {}
    yield {"samples": members(job.out, ".npy")}


def write_webdataset(job: Job, *, used: bool) -> Steps:
    """Ray Data's own: read and decode in map_batches, then write_webdataset."""
    with ray_session(job, used=used):
        import ray

        paths = files(job)
        decoded(paths[0], job.side)
        yield {}
        rows = ray.data.from_items([{"path": str(path), "label": path.parent.name} for path in paths])
        done = rows.map_batches(decode_batch, fn_kwargs={"side": job.side}, batch_size=64)
        done.write_webdataset(job.out, min_rows_per_file=job.shard)
        yield {}
        yield {"samples": members(job.out, ".npy")}


def decode_batch(batch: dict[str, Any], side: int) -> dict[str, Any]:
    """The columns that write_webdataset writes."""
    import numpy as np

    return {
        "__key__": [Path(path).stem for path in batch["path"]],
        "image.npy": np.stack([decoded(path, side) for path in batch["path"]]),
        "cls": batch["label"],
    }


def img2dataset(job: Job) -> Steps:
    """From a list of file:// addresses, with its own defaults but for the side and the crop."""
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from img2dataset import download

    paths = files(job)
    yield {}
    addresses = Path(job.out, "addresses.txt")
    addresses.write_text("".join(f"{path.absolute().as_uri()}\n" for path in paths))
    download(
        url_list=str(addresses), image_size=job.side, resize_mode="center_crop", output_format="webdataset",
        output_folder=f"{job.out}/shards", number_sample_per_shard=job.shard, processes_count=job.cpus,
        thread_count=THREADS,
    )  # fmt: skip
    yield {}
    yield {"samples": members(job.out, ".jpg")}


THREADS = 32
"""Of img2dataset, a process; its 256 are meant for the network and slower on local files."""


def mosaic(job: Job) -> Steps:
    """MDSWriter, in one process, with the checksums that ours has."""
    for needless in ("multimodal", "text", "vision"):  # they import torchvision
        sys.modules[f"streaming.{needless}"] = ModuleType(needless)
    from streaming import MDSWriter

    paths = files(job)
    decoded(paths[0], job.side)
    columns = {"image": f"ndarray:uint8:{job.side},{job.side},3", "label": "str", "source": "str"}
    yield {}
    with MDSWriter(out=f"{job.out}/shards", columns=columns, hashes=["sha256"]) as writer:
        for path in paths:
            label = path.parent.name
            array = decoded(path, job.side)
            writer.write({"image": array, "label": label, "source": f"{label}/{path.name}"})
    yield {}
    index = json.loads(Path(job.out, "shards", "index.json").read_text())
    yield {"samples": sum(shard["samples"] for shard in index["shards"])}


CONTESTANTS: dict[str, Callable[[Job], Steps]] = {
    "ours": partial(ours, used=True),
    "ours, first": partial(ours, used=False),
    "pool": pool,
    "one process": one_process,
    "bare decoding": bare,
    "tar": tar,
    "webdataset": webdataset,
    "write_webdataset": partial(write_webdataset, used=True),
    "write_webdataset, first": partial(write_webdataset, used=False),
    "img2dataset": img2dataset,
    "mosaic": mosaic,
}

SEVERAL = frozenset(
    {"ours", "ours, first", "pool", "write_webdataset", "write_webdataset, first", "img2dataset"}
)
"""Those that work in several processes."""

PACKAGES = {"img2dataset": "img2dataset", "mosaic": "mosaicml-streaming"}
"""Those that come from a folder of their own."""

if __name__ == "__main__":
    main()
