"""The optimizers that the recipes name: torch's AdamW, and LAMB from pytorch_optimizer."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from perceiver.settings import TrainSettings

Groups = list[dict[str, Any]]


def build_optimizer(model: nn.Module, settings: TrainSettings) -> torch.optim.Optimizer:
    """Decay for the matrices of the linear layers only: shrinking an offset or a latent has no reason."""
    decayed = {id(module.weight) for module in model.modules() if isinstance(module, nn.Linear)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: Groups = [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]
    return _OPTIMIZERS[settings.optimizer](groups, settings)


def _adamw(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=settings.rate, betas=settings.betas)


def _lamb(groups: Groups, settings: TrainSettings) -> torch.optim.Optimizer:
    from pytorch_optimizer import Lamb  # two seconds of import that AdamW does not need

    # As in optax, which the paper used: decay inside the trust ratio, norms of weights not cut off at 10.
    lamb = Lamb(groups, lr=settings.rate, betas=settings.betas, weight_decouple=False)
    lamb.clamp = math.inf
    return lamb


_OPTIMIZERS: dict[str, Callable[[Groups, TrainSettings], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "lamb": _lamb,
}
