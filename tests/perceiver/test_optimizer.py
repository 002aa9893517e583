"""Optimizers: who decays, and that LAMB is LAMB."""

from collections.abc import Callable

import pytest
import torch

from perceiver.image import ImageSpec
from perceiver.model import Perceiver
from perceiver.optimizer import build_optimizer
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings


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


def test_lamb_starts_a_head_that_is_0_at_small_weights_and_adamw_leaves_it(small: ModelSettings) -> None:
    spec = ImageSpec.of(small, height=8, width=8, mean=(65.0,) * 3, std=(40.0,) * 3)
    first, second = (Perceiver(small, {"image": spec}, 4) for _ in range(2))
    others = [p.detach().clone() for name, p in second.named_parameters() if name != "head.weight"]

    build_optimizer(first, TrainSettings(optimizer="adamw"))
    build_optimizer(second, TrainSettings(optimizer="lamb"))

    assert not first.head.weight.any()
    assert 0.01 < second.head.weight.std() < 0.03
    after = [p for name, p in second.named_parameters() if name != "head.weight"]
    assert all(torch.equal(one, other) for one, other in zip(others, after, strict=True))
