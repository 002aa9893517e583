"""All that a training needs to go on as if it had never stopped, and how it is put down and taken up.

No random generator's state is among it, as none is stepped: order and augmentation are functions of
(seed, epoch, sample), the learning rate is one of the step.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from perceiver.loss import OBJECTIVES, Objective
from perceiver.model import Perceiver
from perceiver.optimizer import build_optimizer
from perceiver.scaling import LossScale
from perceiver.step import Average
from pipelines.layout import Layout, binding, refuse_other
from pipelines.models.classifier import description
from pipelines.settings import RunSettings
from pipelines.training import warm_start
from pipelines.training.checkpoints import Tensors
from pipelines.training.specs import labels_of, specs
from preprocessing.shards import Shards


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a training is, and what happened on the way."""

    step: int = 0
    """Batches gone by; the number of the next one."""
    learnt: int = 0
    """Batches that the weights have learnt from: those neither skipped nor left out."""
    skipped: int = 0
    """Steps not taken, as the loss or the gradient was no number or exploded."""
    streak: int = 0
    """Of these, those in a row that end with the last step."""
    rollbacks: int = 0
    """Times that the weights went back to a checkpoint."""

    def taken(self) -> "Progress":
        """After a step that changed the weights."""
        return replace(self, step=self.step + 1, learnt=self.learnt + 1, streak=0)

    def passed(self, bad: bool = True) -> "Progress":
        """After a step that was not taken; it counts for the streak where it was `bad`."""
        streak = self.streak + 1 if bad else self.streak
        return replace(self, step=self.step + 1, skipped=self.skipped + 1, streak=streak)

    def rolled_back(self, learnt: int) -> "Progress":
        """With weights that had learnt from so many batches, and no others until the present step."""
        return replace(self, learnt=learnt, streak=0, rollbacks=self.rollbacks + 1)


@dataclass(frozen=True, kw_only=True)
class Sums:
    """Sums over steps and all ranks that no point of a curve holds yet."""

    steps: int = 0
    loss: float = 0.0
    correct: float = 0.0
    norm: float = 0.0

    def plus(self, loss: float, correct: float, norm: float) -> "Sums":
        """With one step more."""
        return Sums(
            steps=self.steps + 1, loss=self.loss + loss, correct=self.correct + correct, norm=self.norm + norm
        )


@dataclass(kw_only=True)
class State:
    """The whole of it."""

    model: Perceiver
    """Never wrapped, so that its names do not depend on the number of workers."""
    optimizer: torch.optim.Optimizer
    average: Average[Perceiver] | None
    scale: LossScale
    settings: RunSettings
    shards: Shards
    progress: Progress = field(default_factory=Progress)
    unread: Sums = field(default_factory=Sums)

    @classmethod
    def fresh(cls, settings: RunSettings, shards: Shards, device: torch.device) -> "State":
        """A new model, equal on every rank, with its optimizer; a warm start has its weights already."""
        torch.manual_seed(settings.seed)
        inputs, classes = specs(settings, shards.statistics), len(shards.classes)
        model = Perceiver(settings.model, inputs, classes, labels_of(shards))
        model.recompute = settings.train.recompute
        warm_start.begin(model, Layout.of(settings, shards.digest), shards.classes)
        model.to(device)
        return cls(
            model=model,
            optimizer=build_optimizer(model, settings.train),
            average=Average(model, settings.train.ema) if settings.train.ema else None,
            scale=LossScale.of(settings.train.precision),
            settings=settings,
            shards=shards,
        )

    @property
    def objective(self) -> Objective:
        """What the logits are asked."""
        return OBJECTIVES[self.model.labels]

    @property
    def kept(self) -> Perceiver:
        """The weights that are evaluated and registered: the average where there is one."""
        return self.average.model if self.average else self.model

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers."""
        weights = [*self.model.parameters(), *self.kept.parameters()]
        return bool(torch.stack([one.isfinite().all() for one in weights]).all())

    def tensors(self) -> Tensors:
        """Everything that changes and is a tensor, by the name of its file."""
        groups = {"model": self.kept.state_dict(), "optimizer": self._optimizer_tensors()}
        return {**groups, "raw": self.model.state_dict()} if self.average else groups

    def record(self) -> dict[str, Any]:
        """Everything else; survives JSON, to the last bit of each number."""
        return {
            "samples_seen": self.progress.learnt * self.settings.train.batch,
            "progress": asdict(self.progress),
            "unread": asdict(self.unread),
            "scale": asdict(self.scale),
            "optimizer": self._optimizer_numbers(),
            "settings": binding(self.settings),
            "shards": self.shards.digest,
            **description(self.kept, self.shards.classes, self.settings.train.precision),
        }

    def take_up(self, record: Mapping[str, Any], tensors: Tensors) -> None:
        """Be what a checkpoint holds.

        Raises:
            UserError: it was made with other settings, or on other shards.
        """
        layout = Layout.of(self.settings, self.shards.digest)
        refuse_other(record, self.settings, self.shards.digest, layout)
        self.take_up_weights(record, tensors)
        self.progress, self.unread = Progress(**record["progress"]), Sums(**record["unread"])

    def take_up_weights(self, record: Mapping[str, Any], tensors: Tensors) -> None:
        """The weights alone, with what the optimizer knows of them."""
        self.kept.load_state_dict(tensors["model"])
        if self.average:
            self.model.load_state_dict(tensors["raw"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors["optimizer"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        current = self.optimizer.state_dict()["param_groups"]
        groups = [
            {**group, **_as_tuples(saved)} for group, saved in zip(current, record["optimizer"], strict=True)
        ]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self.scale = LossScale(**record["scale"])

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state: dict[int, dict[str, Tensor]] = self.optimizer.state_dict()["state"]
        return {f"{index}.{key}": value for index, entry in state.items() for key, value in entry.items()}

    def _optimizer_numbers(self) -> list[dict[str, Any]]:
        return [
            {name: value for name, value in group.items() if name != "params" and not torch.is_tensor(value)}
            for group in self.optimizer.param_groups
        ]


def _as_tuples(saved: dict[str, Any]) -> dict[str, Any]:
    """JSON knows lists only, the optimizers want tuples (betas)."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in saved.items()}
