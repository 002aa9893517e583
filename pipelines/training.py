"""Training on the cluster: the one file that speaks to Ray Train.

Checkpoints are the loop's own (pipelines/checkpoints.py), so a worker group that Ray Train starts anew
after a loss goes on from the newest whole one. Points of the curves reach this process through an actor,
and this process alone speaks to the tracker: training never waits for it.
"""

import shutil
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster.mistake import UserError
from pipelines import checkpoints
from pipelines.artifacts import Trained
from pipelines.layout import Layout, binding
from pipelines.loop import Point, loop
from pipelines.progress import Advance
from pipelines.settings import RunSettings
from pipelines.tracking import Tracker
from preprocessing.shards import Shards

POLL_SECONDS = 0.5


def train(settings: RunSettings, shards: Shards, tracker: Tracker, advance: Advance) -> Trained:
    """Train to the last step and seal the result.

    Raises:
        UserError: the cluster has too little room, or the loop refused to go on.
    """
    layout = Layout.of(settings, shards.digest)
    total = settings.train.total(shards.counts["train"])
    tracker.dataset(shards.place, shards.digest, shards.counts)
    with (
        _mailbox() as mailbox,
        _forwarding(mailbox, Curve(tracker, total * settings.train.batch, settings, advance)),
    ):
        _fit(settings, layout, mailbox)
    checkpoint, _ = checkpoints.newest(layout.checkpoints)
    if checkpoint is None or checkpoint.step < total:
        raise RuntimeError(f"the training ended without a checkpoint of step {total} in {layout.checkpoints}")
    return Trained(
        checkpoint=str(checkpoint.folder),
        weights=checkpoint.weights,
        run_id=tracker.run_id,
        shards=shards.digest,
        step=checkpoint.step,
        samples_seen=checkpoint.samples_seen,
        settings=binding(settings),
    ).seal(layout.trained)


class Curve:
    """Points on their way to the tracker and the screen; a step that a restart repeats is told once."""

    def __init__(self, tracker: Tracker, samples: int, settings: RunSettings, advance: Advance) -> None:
        self.tracker, self.samples, self.batch, self.advance = tracker, samples, settings.train.batch, advance
        told = tracker.curves(["train/loss", "val/loss"])
        self.told = {name.split("/")[0]: points[-1][0] for name, points in told.items() if points}

    def take(self, points: list[Point]) -> None:
        """Log what is new and show how far the training is."""
        fresh = [point for point in points if self._fresh(point)]
        if fresh:
            self.tracker.points(fresh)
        for point in points:
            notes = [f"{name} {point[name]:.3f}" for name in ("train/loss", "val/accuracy") if name in point]
            self.advance(int(point["step"]) * self.batch, self.samples, ", ".join(notes))

    def _fresh(self, point: Point) -> bool:
        kind = "val" if "val/loss" in point else "train"
        new = point["step"] > self.told.get(kind, 0)
        self.told[kind] = max(self.told.get(kind, 0), int(point["step"]))
        return new


class Mailbox:
    """Keeps points, and the refusal of a rank, until somebody asks; lives on the cluster as an actor."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.refusal = ""

    def refuse(self, message: str) -> None:
        """Take in why a rank cannot go on."""
        self.refusal = message

    def refused(self) -> str:
        """Why a rank cannot go on; empty where all can."""
        return self.refusal

    def put(self, point: Point) -> None:
        """Take in a point."""
        self.points.append(point)

    def empty(self) -> list[Point]:
        """Everything since the last call."""
        points, self.points = self.points, []
        return points


@contextmanager
def _mailbox() -> Generator[Any]:
    import ray

    actor: Any = ray.remote(num_cpus=0)(Mailbox).remote()
    try:
        yield actor
    finally:
        ray.kill(actor)


@contextmanager
def _forwarding(mailbox: Any, curve: Curve) -> Generator[None]:
    """Carry points from the mailbox to the curve on a thread, and what is left at the end."""
    import ray

    ended = threading.Event()
    failure: list[BaseException] = []

    def forward() -> None:
        try:
            while not ended.wait(POLL_SECONDS):
                curve.take(ray.get(mailbox.empty.remote()))
            curve.take(ray.get(mailbox.empty.remote()))
        except BaseException as error:  # told to the stage below, after the training
            failure.append(error)

    thread = threading.Thread(target=forward, name="forward", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failure:
        raise failure[0]


def _fit(settings: RunSettings, layout: Layout, mailbox: Any) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    cpus = _cpus_per_worker(settings)
    wanted: dict[str, float] = {"CPU": cpus}
    if settings.cluster.gpus_per_worker:
        wanted["GPU"] = settings.cluster.gpus_per_worker
    _refuse_too_many(settings, wanted)
    # Ray Train wants a folder that all nodes see, for records that nothing here reads: what a training needs
    # to go on is in its own checkpoints. One attempt never finds another's records.
    records = layout.folder / f"ray-train-{uuid.uuid4().hex}"
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"settings": settings.placed(), "mailbox": mailbox, "threads": cpus},
        scaling_config=ScalingConfig(
            num_workers=settings.cluster.workers,
            use_gpu=settings.cluster.gpus_per_worker > 0,
            resources_per_worker=wanted,
        ),
        run_config=RunConfig(
            name="training",
            storage_path=str(records),
            failure_config=FailureConfig(max_failures=settings.cluster.retries),
        ),
    )
    try:
        trainer.fit()
    finally:
        shutil.rmtree(records, ignore_errors=True)
    if refusal := ray.get(mailbox.refused.remote()):
        raise UserError(refusal)


def _rank(config: dict[str, Any]) -> None:
    """What every worker runs.

    Ray Train starts the workers again whatever ended them; after a refusal they find it and end at once.
    """
    import ray
    import torch
    from ray.train.torch import get_device

    mailbox = config["mailbox"]
    if ray.get(mailbox.refused.remote()):
        return
    torch.set_num_threads(config["threads"])
    if config["settings"].cluster.gpus_per_worker:
        # All GPUs of a node are visible to all of its workers; this one's is not the first.
        torch.cuda.set_device(get_device())
    try:
        loop(config["settings"], mailbox.put.remote)
    except UserError as error:
        ray.get(mailbox.refuse.remote(str(error)))
        raise


def _cpus_per_worker(settings: RunSettings) -> int:
    """As many as asked for; else the cluster's, shared evenly."""
    import ray

    if settings.cluster.cpus_per_worker:
        return settings.cluster.cpus_per_worker
    return max(1, int(ray.cluster_resources().get("CPU", 1)) // settings.cluster.workers)


def _refuse_too_many(settings: RunSettings, wanted: dict[str, float]) -> None:
    import ray

    there = ray.cluster_resources()
    for kind, each in wanted.items():
        needed = each * settings.cluster.workers
        if needed > there.get(kind, 0):
            raise UserError(
                f"{settings.cluster.workers} workers with {each:g} {kind} each need {needed:g} {kind}, "
                f"the cluster has {there.get(kind, 0):g}. Lower cluster.workers "
                f"or cluster.{kind.lower()}s-per-worker."
            )
