"""One optimizer step on one worker's slice of the global batch, and the moving average of the weights.

A slice may come in parts, whose gradients add up: `score` each, `clipped`, `update`.
"""

import copy
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from perceiver.loss import Objective, Targets
from perceiver.segment import Raw
from perceiver.train_settings import Precision, TrainSettings

Model = TypeVar("Model", bound=nn.Module)

FORMATS: dict[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Formats of the matrix products, where they are not float32."""


class Scored(NamedTuple):
    loss: Float[Tensor, ""]
    """Sum of the samples' losses, to go back from: sum over the workers / global batch is the mean."""
    correct: Int64[Tensor, ""]
    """Samples whose highest logit was the label's."""


@contextmanager
def computing(precision: Precision, device: torch.device) -> Generator[None, None, None]:
    """Matrix products in this precision, for training and evaluation alike."""
    with torch.autocast(device.type, dtype=FORMATS.get(precision), enabled=precision in FORMATS):
        yield


def score(
    model: nn.Module,
    batch: Mapping[str, Raw],
    targets: Targets,
    settings: TrainSettings,
    objective: Objective,
) -> Scored:
    """The forward pass. `model` may be wrapped in DDP, which averages gradients over W workers.

    Where the backward pass begins at the loss times W / global batch (times the loss scale), slices and parts
    of any size give the mean over the global batch.
    """
    with computing(settings.precision, targets.device):
        logits = cast(Tensor, model(batch))
    loss = objective.loss_sum(logits, targets, settings.label_smoothing)
    return Scored(loss, objective.correct(logits.detach(), targets))


def clipped(parameters: Iterable[nn.Parameter], bound: float, factor: float) -> Float[Tensor, ""]:
    """Take the loss scale `factor` out of the gradients and bound their norm; the norm before that.

    The same on every worker, as the gradients are; not finite where any of them is not. A bound of 0 is none.
    """
    held = [parameter for parameter in parameters if parameter.grad is not None]
    for parameter in held if factor != 1.0 else ():
        cast(Tensor, parameter.grad).mul_(1 / factor)
    return nn.utils.clip_grad_norm_(held, bound or float("inf")).detach()


def update(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Change the weights at this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()


class Average(Generic[Model]):
    """The moving average of a model's weights; `model` is a whole model to evaluate and to keep."""

    def __init__(self, model: Model, decay: float) -> None:
        self.model: Model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """After optimizer step `step`; early on the average is short, or it would hold the first weights."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for kept, now in zip(self.model.parameters(), model.parameters(), strict=True):
            kept.lerp_(now, 1 - decay)
