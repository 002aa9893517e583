"""What the logits are asked: which one of the classes, or each class whether it is there.

Shapes: B samples of the slice, K classes.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

from perceiver.settings import Labels

Logits = Float[Tensor, "B K"]
Targets = Shaped[Tensor, "B ..."]
"""Labels as stored (int64 [B], or 0 and 1 in [B, K]), or shares of the classes, float [B, K]."""


@dataclass(frozen=True)
class Objective:
    """One way to ask; losses and counts are sums over the slice, so that slices of any size add up."""

    loss_sum: Callable[[Logits, Targets, float], Float32[Tensor, ""]]
    """Loss (nats) of logits against targets, with so much label smoothing; in float32."""
    correct: Callable[[Logits, Targets], Int64[Tensor, ""]]
    """Samples whose highest logit is right."""
    probabilities: Callable[[Logits], Float32[Tensor, "B K"]]
    """What the logits say of each class."""
    guessing: Callable[[int], float]
    """Mean loss (nats) of one who guesses among so many classes."""
    shares: Callable[[Targets, int], Float32[Tensor, "B K"]]
    """Labels as stored -> shares of so many classes, which can be blended."""


def loss_sum(logits: Logits, targets: Targets, smoothing: float = 0.0) -> Float32[Tensor, ""]:
    """Softmax cross entropy, of classes int64 [B] or of shares [B, K] that sum to 1."""
    wanted = targets.float() if targets.is_floating_point() else targets
    return F.cross_entropy(logits.float(), wanted, label_smoothing=smoothing, reduction="sum")


def correct(logits: Logits, targets: Targets) -> Int64[Tensor, ""]:
    """Samples whose highest logit is the label's, or that of the largest share."""
    wanted = targets.argmax(1) if targets.is_floating_point() else targets
    return (logits.argmax(1) == wanted).sum()


def sigmoid_loss_sum(logits: Logits, targets: Targets, smoothing: float = 0.0) -> Float32[Tensor, ""]:
    """Sigmoid cross entropy of targets [B, K], summed over the classes too (AudioSet, Sec. 4.2).

    Each class is a question of two answers, over which smoothing is spread: 1 becomes 1 - smoothing / 2.
    """
    wanted = targets.float() * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits.float(), wanted, reduction="sum")


def hits(logits: Logits, targets: Targets) -> Int64[Tensor, ""]:
    """Samples whose highest logit is that of a class that is there, for half of the sample at least."""
    return (targets.gather(1, logits.argmax(1, keepdim=True)) >= 0.5).sum()


def _softmax(logits: Logits) -> Float32[Tensor, "B K"]:
    return logits.float().softmax(1)


def _sigmoid(logits: Logits) -> Float32[Tensor, "B K"]:
    return logits.float().sigmoid()


def _one_hot(labels: Targets, classes: int) -> Float32[Tensor, "B K"]:
    return F.one_hot(labels, classes).to(torch.float32)


def _as_shares(labels: Targets, classes: int) -> Float32[Tensor, "B K"]:
    if labels.shape[1] != classes:
        raise ValueError(f"labels {tuple(labels.shape)} are not [samples, {classes} classes]")
    return labels.to(torch.float32)


OBJECTIVES: dict[Labels, Objective] = {
    "one": Objective(loss_sum, correct, _softmax, math.log, _one_hot),
    "several": Objective(sigmoid_loss_sum, hits, _sigmoid, lambda classes: classes * math.log(2), _as_shares),
}
"""By the number of labels that a sample may have: a mixed target of one label looks like several labels."""
