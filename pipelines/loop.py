"""The training loop of one rank: the same under Ray Train, under torchrun and in one process.

What happens every so often is a question with a plain answer (`due`); the optimizer step itself knows
nothing of it.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from cluster.mistake import UserError
from perceiver.model import Perceiver
from perceiver.schedule import rate_factor
from perceiver.segment import Raw
from perceiver.step import Stepped, computing, loss_sum, step
from pipelines import checkpoints
from pipelines.classifier import description
from pipelines.feed import Fed, evaluation_feed, training_feed
from pipelines.layout import Layout, binding, refuse_change
from pipelines.learner import Learner
from pipelines.points import Point
from pipelines.ranks import Ranks
from pipelines.settings import RunSettings
from pipelines.specs import specs
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards

Publish = Callable[[Point], None]

POINTS = 200
"""Points of a training curve, about as many as a screen resolves."""


def loop(settings: RunSettings, publish: Publish) -> None:
    """Train this rank's share from the newest checkpoint to the last step; rank 0 publishes the points.

    Raises:
        UserError: the shards are damaged, or the loss is no longer a number.
    """
    shards = Shards.open(settings.shards)
    layout = Layout.of(settings, shards.digest)
    ranks = Ranks.here(settings.cluster.gpus_per_worker > 0)
    learner = build_learner(settings, shards, ranks)
    begin = restore(learner, layout, settings)
    ranks.agree(begin, "the step of the newest checkpoint")
    cache = Cache.of(settings.data)
    training, validation = Reader(shards, "train", cache), Reader(shards, "val", cache)
    total = settings.train.total(len(training))
    every = Every.of(settings, len(training), total)
    meter = Meter(settings, ranks)
    for fed in training_feed(
        learner.model, training, ranks, range(begin, total), settings.train.batch, settings.seed
    ):
        rate = settings.train.rate * rate_factor(settings.train, fed.step, total)
        meter.add(take(learner, fed, settings, ranks, rate), fed)
        taken = fed.step + 1
        if any(due(taken, often, total) for often in (every.log, every.evaluate, every.save)):
            tell(ranks, publish, taken, {**meter.read(taken), "train/rate": rate})
        if due(taken, every.evaluate, total) and len(validation):
            tell(ranks, publish, taken, evaluate(learner.kept, validation, settings, ranks))
        if due(taken, every.save, total):
            save(learner, layout, settings, shards, ranks, taken)
        if due(taken, every.evaluate, total) or due(taken, every.save, total):
            meter.restart()


@dataclass(frozen=True)
class Every:
    """After how many steps something happens."""

    log: int
    evaluate: int
    save: int

    @classmethod
    def of(cls, settings: RunSettings, samples: int, total: int) -> "Every":
        """What the settings leave open happens once an epoch, and the curve gets its points."""
        epoch = math.ceil(samples / settings.train.batch)
        return cls(
            log=max(1, total // POINTS),
            evaluate=settings.train.evaluate_every or epoch,
            save=settings.train.save_every or epoch,
        )


def due(taken: int, every: int, total: int) -> bool:
    """Whether what happens every so many steps happens after this one; always after the last."""
    return taken % every == 0 or taken == total


def build_learner(settings: RunSettings, shards: Shards, ranks: Ranks) -> Learner:
    """A fresh model, equal on every rank, with its optimizer."""
    torch.manual_seed(settings.seed)
    model = Perceiver(settings.model, specs(settings, shards.statistics), len(shards.classes))
    model.recompute = settings.train.recompute
    return Learner(model, settings.train, ranks)


def restore(learner: Learner, layout: Layout, settings: RunSettings) -> int:
    """Take up the newest whole checkpoint; the step to go on with.

    Raises:
        UserError: it was made with other settings.
    """
    checkpoint, _ = checkpoints.newest(layout.checkpoints)
    if checkpoint is None:
        return 0
    refuse_change(checkpoint.record["settings"], settings, layout)
    groups = {name.removesuffix(".safetensors") for name in checkpoint.record["files"]}
    learner.restore({name: checkpoint.tensors(name) for name in groups}, checkpoint.record["optimizer"])
    return checkpoint.step


def save(
    learner: Learner, layout: Layout, settings: RunSettings, shards: Shards, ranks: Ranks, taken: int
) -> None:
    """Seal a checkpoint; every rank goes on only when it is there."""
    if ranks.first:
        record = {
            "samples_seen": taken * settings.train.batch,
            "optimizer": learner.numbers(),
            "settings": binding(settings),
            "shards": shards.digest,
            **description(learner.kept, shards.classes, settings.train.precision),
        }
        checkpoints.save(layout.checkpoints, taken, learner.tensors(), record)
    ranks.wait()


def take(learner: Learner, fed: Fed, settings: RunSettings, ranks: Ranks, rate: float) -> Stepped:
    """One optimizer step on this rank's slice, and the moving average after it."""
    batch = {modality: raw.to(ranks.device) for modality, raw in fed.batch.items()}
    batch = learner.model.augment(batch, fed.seeds.to(ranks.device), settings.train)
    share = ranks.world / settings.train.batch
    stepped = step(
        learner.stepping, learner.optimizer, batch, fed.labels.to(ranks.device), settings.train,
        rate=rate, share=share,
    )  # fmt: skip
    if learner.average:
        learner.average.update(learner.model, fed.step)
    return stepped


class Meter:
    """Means over the steps since the last reading, over all ranks."""

    def __init__(self, settings: RunSettings, ranks: Ranks) -> None:
        self.batch, self.ranks = settings.train.batch, ranks
        self.restart()

    def restart(self) -> None:
        """Begin anew, so that what was not training is not counted."""
        self.sums = torch.zeros(3, dtype=torch.float64, device=self.ranks.device)
        self.steps, self.waited, self.since = 0, 0.0, time.perf_counter()

    def add(self, stepped: Stepped, fed: Fed) -> None:
        """Count a step, without waiting for the device."""
        self.sums += torch.stack([stepped.loss, stepped.correct, stepped.norm]).to(self.sums)
        self.steps += 1
        self.waited += fed.waited

    def read(self, taken: int) -> Point:
        """The means, and how fast they came.

        Raises:
            UserError: the loss or the gradient is not a number.
        """
        loss, correct, norms = self.ranks.total(self.sums.clone()).tolist()
        samples, seconds = self.steps * self.batch, time.perf_counter() - self.since
        if not (math.isfinite(loss) and math.isfinite(norms)):
            what = f"gradient is {norms}" if math.isfinite(loss) else f"loss is {loss}"
            raise UserError(
                f"The {what} at step {taken}. Lower train.rate, lengthen train.warmup or set "
                f"train.clip; the checkpoint before it is kept."
            )
        point = {
            "train/loss": loss / samples,
            "train/accuracy": correct / samples,
            "train/gradient_norm": norms / (self.steps * self.ranks.world),
            "train/samples_per_second": samples / seconds,
            "train/data_wait": self.waited / seconds,
        }
        self.restart()
        return point


def tell(ranks: Ranks, publish: Publish, taken: int, metrics: Point) -> None:
    """Hand a point over, once for all ranks."""
    if ranks.first:
        publish({"step": taken, "time": time.time(), **metrics})


@torch.no_grad()
def evaluate(model: Perceiver, reader: Reader, settings: RunSettings, ranks: Ranks) -> Point:
    """Loss and accuracy over the validation split, each sample counted once."""
    sums = torch.zeros(2, dtype=torch.float64, device=ranks.device)
    model.eval()
    for batch, labels in evaluation_feed(model, reader, ranks, settings.train.batch):
        logits, wanted = _logits(model, batch, settings, ranks), labels.to(ranks.device)
        correct = (logits.argmax(1) == wanted).sum()
        sums += torch.stack([loss_sum(logits, wanted).double(), correct.double()])
    model.train()
    loss, correct = (ranks.total(sums) / len(reader)).tolist()
    return {"val/loss": loss, "val/accuracy": correct}


def _logits(model: Perceiver, batch: dict[str, Raw], settings: RunSettings, ranks: Ranks) -> Tensor:
    with computing(settings.train.precision, ranks.device):
        return model({modality: raw.to(ranks.device) for modality, raw in batch.items()})
