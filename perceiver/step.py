"""One optimizer step on one worker's slice of the global batch, and the moving average of the weights.

Shapes: B samples of the slice, K classes.
"""

import copy
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from perceiver.segment import Raw
from perceiver.settings import Precision, TrainSettings

Model = TypeVar("Model", bound=nn.Module)


class Stepped(NamedTuple):
    loss: Float[Tensor, ""]
    """Sum of the slice's losses, detached: sum over the workers / global batch is the mean."""
    correct: Int64[Tensor, ""]
    """Samples of the slice whose highest logit was the label's."""
    norm: Float[Tensor, ""]
    """Norm of all gradients before clipping, the same on every worker."""


@contextmanager
def computing(precision: Precision, device: torch.device) -> Generator[None, None, None]:
    """Matrix products in this precision, for training and evaluation alike."""
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16"):
        yield


def loss_sum(
    logits: Float[Tensor, "B K"], labels: Int64[Tensor, " B"], smoothing: float = 0.0
) -> Float[Tensor, ""]:
    """Cross entropy in float32, summed, so that slices of any size add up."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing, reduction="sum")


def step(  # noqa: PLR0913, what a step needs: no more could be left out, nothing hides in an object
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Mapping[str, Raw],
    labels: Int64[Tensor, " B"],
    settings: TrainSettings,
    *,
    rate: float,
    share: float,
) -> Stepped:
    """Loss, backward, clip, update; `model` may be wrapped in DDP, which averages over W workers.

    With `share` = W / global batch, slices of any size give the mean over the global batch.
    """
    with computing(settings.precision, labels.device):
        logits = cast(Tensor, model(batch))
    loss = loss_sum(logits, labels, settings.label_smoothing)
    optimizer.zero_grad(set_to_none=True)
    (loss * share).backward()
    norm = nn.utils.clip_grad_norm_(model.parameters(), settings.clip or float("inf"))
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return Stepped(loss.detach(), (logits.detach().argmax(1) == labels).sum(), norm.detach())


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
