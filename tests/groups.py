"""Trainings by real processes on gloo, which start in no time: they fork from one that has torch already."""

import multiprocessing as processes
import os
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import torch

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import lines, points
from pipelines.tracking.points import Curve
from pipelines.training.checkpoints import Checkpoint, Checkpoints
from pipelines.training.loop import loop
from pipelines.training.outside import Outside, Watch, unwatched
from preprocessing.shards import Shards

SECONDS = 120
"""After which a group counts as hung."""

_context = processes.get_context("forkserver")
_context.set_forkserver_preload(["groups", "torch._dynamo"])


def forked(work: Callable[..., object], *words: Any) -> Any:
    """A process at this work, started in no time."""
    _warm()
    process = _context.Process(target=work, args=words)
    process.start()
    return process


def _warm() -> None:
    """Start the process that all fork from with what they import; it knows the environment's paths."""
    tests = Path(__file__).parent
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(tests), str(tests.parent), before])
    forkserver.ensure_running()
    os.environ["PYTHONPATH"] = before


def train_group(
    settings: RunSettings, shards: Shards, world: int, watch: Watch = unwatched, stop: Path | None = None
) -> list[int | None]:
    """Train with so many ranks until all have ended; how each did. Where one dies, the others are killed."""
    with started(settings, shards, world, watch, stop) as ranks:
        return await_all(ranks)


@contextmanager
def started(
    settings: RunSettings, shards: Shards, world: int, watch: Watch = unwatched, stop: Path | None = None
) -> Generator[list[Any]]:
    """The processes of a group that trains; those which are left in the end are killed."""
    with tempfile.TemporaryDirectory() as meeting:
        work = (settings, shards.digest, world, watch, stop, f"{meeting}/store")
        ranks = [forked(_rank, rank, *work) for rank in range(world)]
        try:
            yield ranks
        finally:
            for process in ranks:
                process.kill()
                process.join()


def await_all(ranks: list[Any]) -> list[int | None]:
    """The exit codes; negative ones are signals."""
    until = time.monotonic() + SECONDS
    while any(process.exitcode is None for process in ranks):
        failed = any(process.exitcode for process in ranks)
        if failed or time.monotonic() > until:
            for process in ranks:
                process.join(0.2 if failed else 0)
                process.kill()
        time.sleep(0.01)
    for process in ranks:
        process.join()
    return [process.exitcode for process in ranks]


def await_each(ranks: list[Any]) -> list[int | None]:
    """The exit codes where each ends by itself; none of one that does not."""
    until = time.monotonic() + SECONDS
    for process in ranks:
        process.join(max(0.0, until - time.monotonic()))
    return [process.exitcode for process in ranks]


def _rank(  # noqa: PLR0913, PLR0917
    rank: int, settings: RunSettings, digest: str, world: int, watch: Watch, stop: Path | None, meeting: str
) -> None:
    torch.set_num_threads(1)
    if world > 1:
        torch.distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=world
        )
    layout = Layout.of(settings, digest)
    layout.folder.mkdir(parents=True, exist_ok=True)
    os.dup2(os.open(layout.folder / f"rank-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    outside = Outside(
        publish=points.Record(layout.points).add,
        note=lambda text: lines.append(layout.folder / "notes.jsonl", {"text": text}),
        watch=watch,
        asked_seconds=0.0,
        stop_wanted=stop.exists if stop else (lambda: False),
    )
    loop(settings, digest, outside)
    # Without goodbyes: a thread of gloo's may wait for ranks that have left already.
    os._exit(0)


def notes(settings: RunSettings, shards: Shards) -> list[str]:
    """What the person was told, of all attempts."""
    return [line["text"] for line in lines.read(Layout.of(settings, shards.digest).folder / "notes.jsonl")[0]]


def said(settings: RunSettings, shards: Shards, rank: int) -> str:
    """What a rank wrote to stderr, in all attempts."""
    return (Layout.of(settings, shards.digest).folder / f"rank-{rank}.txt").read_text()


def elsewhere(settings: RunSettings, folder: Path) -> RunSettings:
    """The same run in another workspace, on the same shards."""
    return replace(settings, workspace=str(folder), data=replace(settings.data, shards=settings.shards))


def newest(settings: RunSettings, shards: Shards) -> Checkpoint:
    """The newest checkpoint of a training, which there is."""
    found, _ = Checkpoints.at(Layout.of(settings, shards.digest).checkpoints).newest()
    assert found is not None
    return found


def learnt_curves(settings: RunSettings, shards: Shards) -> dict[str, Curve]:
    """What was learnt at which step, as far as it does not depend on the clock."""
    curves = points.curves(Layout.of(settings, shards.digest).points)
    train = ("loss", "accuracy", "gradient_norm", "rate", "samples_seen")
    wanted = (*(f"train/{name}" for name in train), "val/loss", "val/accuracy")
    return {name: curves[name] for name in wanted}
