"""Optimizers: who decays, and that LAMB is LAMB."""

from collections.abc import Callable

import pytest
import torch

from perceiver.model import Perceiver
from perceiver.optimizer import build_optimizer
from perceiver.settings import TrainSettings


@pytest.mark.parametrize("name", ["adamw", "lamb"])
def test_only_matrices_of_linear_layers_decay(name: str, build: Callable[..., Perceiver]) -> None:
    model = build("image", "mesh")
    settings = TrainSettings(optimizer=name, weight_decay=0.1, betas=(0.8, 0.95))  # type: ignore[arg-type]
    names = {id(parameter): name for name, parameter in model.named_parameters()}

    decayed, kept = build_optimizer(model, settings).param_groups

    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert decayed["betas"] == kept["betas"] == (0.8, 0.95)
    assert all(parameter.ndim == 2 for parameter in decayed["params"])
    still = {names[id(parameter)] for parameter in kept["params"]}
    assert {"latents", "encodings.image", "head.bias", "cross_attends.0.byte_norm.weight"} <= still
    assert not any("attention" in name and name.endswith(".weight") for name in still)
    assert len(decayed["params"]) + len(kept["params"]) == len(names)


def test_lamb_changes_a_matrix_in_proportion_to_its_own_size() -> None:
    """Layer-wise trust: ||change|| = rate x ||weights||, here without decay."""
    small = torch.nn.Linear(4, 4, bias=False)
    large = torch.nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        large.weight.copy_(small.weight * 10)
    model = torch.nn.ModuleList([small, large])
    update = build_optimizer(model, TrainSettings(optimizer="lamb", rate=0.01, weight_decay=0.0))
    before = [module.weight.detach().clone() for module in (small, large)]

    for module in (small, large):
        module.weight.grad = torch.ones(4, 4)
    update.step()

    changes = [(m.weight - b).norm().item() for m, b in zip((small, large), before, strict=True)]
    assert changes[1] / changes[0] == pytest.approx(10, rel=0.001)
