"""Training on the cluster: the one file that speaks to Ray Train.

Checkpoints and points are the loop's own, in the workspace: a worker group that Ray Train starts anew after
a loss goes on from the newest whole checkpoint, and nothing is asked of Ray Train but to keep ranks running.
"""

import shutil
import uuid
from typing import Any

import torch

from cluster.mistake import UserError
from cluster.storage import write_whole
from perceiver.model import Perceiver
from pipelines import checkpoints, points
from pipelines.artifacts import Trained
from pipelines.contact_sheet import contact_sheet
from pipelines.layout import Layout, binding
from pipelines.loop import loop
from pipelines.points import Forwarder, forwarding
from pipelines.progress import Advance, say
from pipelines.settings import RunSettings
from pipelines.specs import specs
from pipelines.tracking import Tracker
from preprocessing.shards import Shards


def train(settings: RunSettings, shards: Shards, tracker: Tracker, advance: Advance) -> Trained:
    """Train to the last step and seal the result.

    Raises:
        UserError: the cluster has too little room, or the loop refused to go on.
    """
    layout = Layout.of(settings, shards.digest)
    total = settings.train.total(shards.counts["train"])
    tracker.dataset(shards.place, shards.digest, shards.counts)
    if not layout.contact_sheet.exists():
        contact_sheet(layout.contact_sheet, shards)
    tracker.picture(layout.contact_sheet)
    begin, torn = checkpoints.newest(layout.checkpoints)
    for complaint in torn:
        say(f"train: passed over a torn checkpoint, {complaint}")
    say(f"train: cross-attention is {forms_in_words(settings, shards)}")
    advance((begin.step if begin else 0) * settings.train.batch, total * settings.train.batch, "")
    with forwarding(Forwarder(layout.points, tracker, settings, total, advance)):
        _fit(settings, layout)
    checkpoint, _ = checkpoints.newest(layout.checkpoints)
    if checkpoint is None or checkpoint.step < total:
        raise RuntimeError(f"the training ended without a checkpoint of step {total} in {layout.checkpoints}")
    return Trained(
        checkpoint=checkpoint.folder.name,
        weights=checkpoint.weights,
        run_id=tracker.run_id,
        shards=shards.digest,
        step=checkpoint.step,
        samples_seen=checkpoint.samples_seen,
        settings=binding(settings),
    ).seal(layout.trained)


def forms_in_words(settings: RunSettings, shards: Shards) -> str:
    """How each modality will be read."""
    with torch.device("meta"):
        model = Perceiver(settings.model, specs(settings, shards.statistics), len(shards.classes))
    forms = model.forms("cuda" if settings.cluster.gpus_per_worker else "cpu")
    return ", ".join(
        f"{form} ({modality}, {model.geometries[modality].positions:,} positions)"
        for modality, form in forms.items()
    )


def _fit(settings: RunSettings, layout: Layout) -> None:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    wanted = _per_worker(settings)
    layout.refusal.unlink(missing_ok=True)
    # Ray Train wants a folder that all nodes see, for records that nothing here reads. One attempt never
    # finds another's.
    for leftover in layout.folder.glob("ray-train-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    records = layout.folder / f"ray-train-{uuid.uuid4().hex}"
    trainer = TorchTrainer(
        _rank,
        train_loop_config={"settings": settings.placed(), "layout": layout, "threads": int(wanted["CPU"])},
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
    except TrainingFailedError:
        if not layout.refusal.exists():
            raise
    finally:
        shutil.rmtree(records, ignore_errors=True)
    if layout.refusal.exists():
        raise UserError(layout.refusal.read_text())


def _rank(config: dict[str, Any]) -> None:
    """What every worker runs.

    Ray Train starts the workers again whatever ended them; after a refusal they find it and end at once.
    """
    import torch
    from ray.train.torch import get_device

    settings, layout = config["settings"], config["layout"]
    if layout.refusal.exists():
        return
    torch.set_num_threads(config["threads"])
    if settings.cluster.gpus_per_worker:
        # All GPUs of a node are visible to all of its workers; this one's is not the first.
        torch.cuda.set_device(get_device())
    try:
        loop(settings, lambda point: points.append(layout.points, point))
    except UserError as error:
        write_whole(layout.refusal, str(error).encode())
        raise


def _per_worker(settings: RunSettings) -> dict[str, float]:
    """What each worker takes of its node: the CPUs that were asked for, or as many as leave room for all.

    Raises:
        UserError: the cluster has too little room.
    """
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    asked = settings.cluster.cpus_per_worker
    largest = max([1, *(int(node.get("CPU", 0)) for node in nodes)])
    wanted: dict[str, float] = {}
    for cpus in [asked] if asked else range(largest, 0, -1):
        wanted = {"CPU": cpus}
        if settings.cluster.gpus_per_worker:
            wanted["GPU"] = settings.cluster.gpus_per_worker
        room = sum(min(int(node.get(kind, 0) // each) for kind, each in wanted.items()) for node in nodes)
        if room >= settings.cluster.workers:
            return wanted
    kinds = " and ".join(f"{each:g} {kind}" for kind, each in wanted.items())
    there = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
    raise UserError(
        f"{settings.cluster.workers} workers with {kinds} each do not fit the cluster's nodes ({there}). "
        f"Lower cluster.workers, cluster.cpus-per-worker or cluster.gpus-per-worker."
    )
