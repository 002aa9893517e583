"""Training on the cluster: the one file that speaks to Ray Train.

Checkpoints and points are the loop's own: whoever starts the ranks anew after a loss goes on from the newest
whole checkpoint, and nothing is asked of Ray Train but to keep ranks running.
"""

import threading
from dataclasses import dataclass
from textwrap import shorten
from typing import Any

import torch

from cluster.mistake import AwayError, UserError
from perceiver.model import Perceiver
from pipelines.artifacts import Trained
from pipelines.layout import Layout, binding, refuse_other
from pipelines.pictures.contact_sheet import contact_sheet
from pipelines.progress import Advance, say
from pipelines.settings import RunSettings
from pipelines.stopping import Desk, LostError, Start, StoppedError, stop_request
from pipelines.tracking import points
from pipelines.tracking.points import Forwarder, forwarding
from pipelines.tracking.tracker import Tracker
from pipelines.training.checkpoints import Checkpoint, Checkpoints, OvertakenError, TornError
from pipelines.training.loop import loop
from pipelines.training.outside import Outside, Watch, unwatched
from pipelines.training.pulse import accounts, goodput
from pipelines.training.room import Resources, lack, per_worker
from pipelines.training.specs import specs
from pipelines.training.validating import rise
from preprocessing.shards import Shards


def train(
    settings: RunSettings, shards: Shards, tracker: Tracker, advance: Advance, watch: Watch = unwatched
) -> Trained:
    """Train to the last step; what came of it, which whoever asked seals.

    Raises:
        UserError: the cluster has too little room, the loop refused to go on, or another command took over.
        StoppedError: the training was stopped from outside, and saved.
    """
    layout = Layout.of(settings, shards.digest)
    total = settings.train.total(shards.counts["train"])
    tracker.dataset(shards.place, shards.digest, shards.counts)
    if not layout.contact_sheet.exists():
        contact_sheet(layout.contact_sheet, shards)
    tracker.picture(layout.contact_sheet)
    say(f"train: cross-attention is {forms_in_words(settings, shards)}")
    forwarder = Forwarder(layout.points, settings, total, advance)
    with Desk.below(layout.folder) as desk, stop_request(desk.stop), forwarding(forwarder):
        assignment = Assignment(settings.placed(), shards.digest, per_worker(settings.cluster), desk, watch)
        checkpoint = until_done(assignment, layout, total, advance)
    say(f"train: {in_words(goodput(accounts(layout.attempts)))}")
    if risen := rise(points.curves(layout.points).get("val/loss", [])):
        say(f"train: {risen}")
    return Trained(
        checkpoint=checkpoint.name,
        weights=checkpoint.weights,
        run_id=tracker.run_id,
        shards=shards.digest,
        step=checkpoint.step,
        samples_seen=checkpoint.record["samples_seen"],
        settings=binding(settings),
    )


def forms_in_words(settings: RunSettings, shards: Shards) -> str:
    """How each modality will be read."""
    with torch.device("meta"):
        model = Perceiver(settings.model, specs(settings, shards.statistics), len(shards.classes))
    forms = model.forms("cuda" if settings.cluster.gpus_per_worker else "cpu")
    return ", ".join(
        f"{form} ({modality}, {model.geometries[modality].positions:,} positions)"
        for modality, form in forms.items()
    )


def in_words(figures: dict[str, float]) -> str:
    """What the time went into."""
    share, attempts, again = (figures[f"work/{name}"] for name in ("goodput", "attempts", "redone_steps"))
    useful, redone, waiting = (
        f"{figures[f'work/{name}_seconds']:,.0f} s" for name in ("useful", "redone", "waiting")
    )
    if attempts == 1 and not again:
        return f"{useful} of steps, {waiting} of waiting"
    return (
        f"goodput {share:.0%} of {attempts:.0f} attempt{'s' * (attempts != 1)}, {again:,.0f} "
        f"step{'s' * (again != 1)} done again: {useful} useful, {redone} redone, {waiting} waiting"
    )


@dataclass(frozen=True)
class Assignment:
    """What every rank is told."""

    settings: RunSettings
    digest: str
    """The version of the shards; newer ones may come while it trains."""
    wanted: Resources
    """What each takes of its node, whichever nodes are lost: the number of threads changes rounding."""
    desk: Desk
    watch: Watch


def until_done(assignment: Assignment, layout: Layout, total: int, advance: Advance) -> Checkpoint:
    """Start all ranks, and again after each loss, until there is a checkpoint of the last step.

    Raises:
        UserError: a rank refused to go on, or the checkpoints are another training's.
        LostError: so many starts in a row got no further.
        StoppedError: the training was stopped from outside, and saved.
    """
    in_vain = 0
    checkpoint = newest(layout)
    if checkpoint:
        # Before any rank claims an attempt, which would end the one that is at work there.
        refuse_other(checkpoint.record, assignment.settings, assignment.digest, layout)
    while checkpoint is None or checkpoint.step < total:
        began = checkpoint.step if checkpoint else 0
        advance(began * assignment.settings.train.batch, total * assignment.settings.train.batch, "")
        start = assignment.desk.new_start()
        loss = fit(assignment, start)
        if loss:
            start.refuse()
        checkpoint = newest(layout)
        reached = checkpoint.step if checkpoint else 0
        if assignment.desk.stop.exists() and reached < total:
            raise StoppedError(f"stopped; {reached:,} of {total:,} steps are saved")
        in_vain = 0 if reached > began else in_vain + 1
        if in_vain > assignment.settings.cluster.retries:
            raise LostError(
                f"{in_vain} starts in a row did not get beyond step {reached:,}, which is saved. The last "
                f"one ended with {loss or 'nothing said'}; the logs of Ray's workers have all of it."
            )
        if reached < total:
            say(f"train: {loss or 'the machines are taken away'}; step {reached:,} is saved, it starts again")
    return checkpoint


def newest(layout: Layout) -> Checkpoint | None:
    """The newest whole checkpoint; torn ones are said."""
    found, torn = Checkpoints.at(layout.checkpoints).newest()
    for complaint in torn:
        say(f"train: passed over a torn checkpoint, {complaint}")
    return found


def fit(assignment: Assignment, start: Start) -> str:
    """Have all ranks run the loop once; what ended it too early, if anything did.

    On a thread of its own, as Ray would otherwise take the signals that ask for a stop.
    """
    ended: list[str | BaseException] = []

    def work() -> None:
        try:
            ended.append(fitted(assignment, start))
        except BaseException as error:  # whatever it is, the other thread has to hear of it
            ended.append(error)

    thread = threading.Thread(target=work, name="fit", daemon=True)
    thread.start()
    lacking = ""
    while thread.is_alive():
        thread.join(1.0)
        for note in assignment.desk.notes():
            say(f"train: {note}")
        before, lacking = lacking, lack(assignment.settings.cluster, assignment.wanted)
        if lacking and not before:
            say(f"train: {lacking}; it waits for more nodes")
    if isinstance(ended[0], BaseException):
        raise ended[0]
    return ended[0]


def fitted(assignment: Assignment, start: Start) -> str:
    """The same, on this thread."""
    from ray.exceptions import RayError
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    cluster = assignment.settings.cluster
    trainer = TorchTrainer(
        rank,
        train_loop_config={"assignment": assignment, "start": start},
        scaling_config=ScalingConfig(
            num_workers=cluster.most if cluster.fewest == cluster.most else (cluster.fewest, cluster.most),
            use_gpu=cluster.gpus_per_worker > 0,
            resources_per_worker=dict(assignment.wanted),
            elastic_resize_monitor_interval_s=cluster.resize_seconds,
        ),
        run_config=RunConfig(
            name="training",
            storage_path=str(start.records),
            # One policy for all losses, that of `until_done`; Ray's own starts anew know of no progress.
            failure_config=FailureConfig(max_failures=0, max_preemption_failures=0),
        ),
    )
    try:
        trainer.fit()
    except (TrainingFailedError, RayError) as error:
        free_room()
        return reason(error)
    return ""


def free_room() -> None:
    """Give back the room that a killed controller's ranks had, and kill those of them that are left.

    Ray's own cleaner (2.60) asks the dashboard, and does nothing where there is none: the next start would
    wait for ever for the room that is its own.
    """
    import ray
    from ray.util import placement_group_table, remove_placement_group
    from ray.util.placement_group import PlacementGroup

    job = ray.get_runtime_context().get_job_id()
    for name, group in placement_group_table().items():
        # A group's number ends with that of the job; at this moment nothing else of this one needs room.
        if name.endswith(job) and group["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(ray.PlacementGroupID(bytes.fromhex(name))))


def reason(error: Exception) -> str:
    """The last line of what Ray says went wrong, which names the error itself."""
    failures = list(getattr(error, "worker_failures", {}).values())
    # That a connection broke is what the others notice of a worker that died, as a RuntimeError of torch's.
    dead = [one for one in failures if not isinstance(one, RuntimeError)]
    first = [*dead, *failures, error][0]
    lines = [line.strip() for line in str(first).splitlines() if line.strip()]
    return (
        f"{type(first).__name__}: {shorten(lines[-1], 160, placeholder=' ...') if lines else 'no word of it'}"
    )


def rank(config: dict[str, Any]) -> None:
    """What every worker runs; a refusal is left for the process that started it."""
    import torch
    from ray.train import get_preemption_info
    from ray.train.torch import get_device

    assignment: Assignment = config["assignment"]
    settings, layout = assignment.settings, Layout.of(assignment.settings, assignment.digest)
    torch.set_num_threads(int(assignment.wanted["CPU"]))
    if settings.cluster.gpus_per_worker:
        # All GPUs of a node are visible to all of its workers; this one's is not the first.
        torch.cuda.set_device(get_device())
    outside = Outside(
        publish=points.Record(layout.points).add,
        note=assignment.desk.note,
        stop_wanted=assignment.desk.stop.exists,
        preempted=lambda: get_preemption_info() is not None,
        watch=assignment.watch,
    )
    try:
        loop(settings, assignment.digest, outside)
    except (AwayError, TornError):
        raise  # a later start may find it better
    except torch.OutOfMemoryError as error:
        text = f"A worker has too little memory for its part of a batch. Lower train.microbatch: {error}"
        config["start"].leave_refusal(text)
        raise
    except (UserError, OvertakenError) as error:
        config["start"].leave_refusal(str(error))
        raise
