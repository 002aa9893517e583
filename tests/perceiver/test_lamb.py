"""LAMB against the algorithm written out in float64, number by number."""

import copy
import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from perceiver.lamb import Lamb

SHAPES = st.lists(st.lists(st.integers(1, 5), min_size=0, max_size=3).map(tuple), min_size=1, max_size=4)


class Written:
    """Algorithm 2 of You et al. 2019 for one tensor, as optax does it."""

    def __init__(self, start: Tensor, betas: tuple[float, float], eps: float, decay: float) -> None:
        self.x = start.double().numpy().copy()
        self.betas, self.eps, self.decay = betas, eps, decay
        self.m, self.v, self.t = np.zeros_like(self.x), np.zeros_like(self.x), 0

    def step(self, gradient: Tensor, rate: float) -> None:
        g, (first, second) = gradient.double().numpy(), self.betas
        self.t += 1
        self.m = first * self.m + (1 - first) * g
        self.v = second * self.v + (1 - second) * g * g
        mean, square = self.m / (1 - first**self.t), self.v / (1 - second**self.t)
        update = mean / (np.sqrt(square) + self.eps) + self.decay * self.x
        own, asked = math.sqrt((self.x**2).sum()), math.sqrt((update**2).sum())
        self.x = self.x - rate * (own / asked if own and asked else 1.0) * update


@settings(max_examples=40, deadline=None)
@given(
    shapes=SHAPES,
    seed=st.integers(0, 2**31),
    decay=st.sampled_from([0.0, 0.05, 0.3]),
    betas=st.sampled_from([(0.9, 0.999), (0.8, 0.95), (0.0, 0.9)]),
    size=st.sampled_from([1e-4, 1.0, 1e3]),
)
def test_many_steps_are_those_of_the_algorithm(
    shapes: Sequence[tuple[int, ...]], seed: int, decay: float, betas: tuple[float, float], size: float
) -> None:
    random = torch.Generator().manual_seed(seed)
    tensors = [
        nn.Parameter(size * torch.randn(shape, generator=random, dtype=torch.float64)) for shape in shapes
    ]
    optimizer = Lamb(tensors, lr=1.0, betas=betas, weight_decay=decay)
    written = [Written(tensor.detach(), betas, 1e-6, decay) for tensor in tensors]

    for number in range(30):
        optimizer.param_groups[0]["lr"] = rate = 0.01 * (1 + number % 3)
        for tensor, one in zip(tensors, written, strict=True):
            tensor.grad = torch.randn(tensor.shape, generator=random, dtype=torch.float64)
            one.step(tensor.grad, rate)
        optimizer.step()

    for tensor, one in zip(tensors, written, strict=True):
        np.testing.assert_allclose(tensor.detach().numpy(), one.x, rtol=1e-9, atol=1e-12 * size)


def test_groups_have_settings_of_their_own_and_what_has_no_gradient_stays() -> None:
    first, second, third = (nn.Parameter(torch.arange(1.0, 4.0)) for _ in range(3))
    groups = [{"params": [first, third], "weight_decay": 0.5}, {"params": [second], "lr": 0.1}]
    optimizer = Lamb(groups, lr=0.01)
    written = [
        Written(first.detach(), (0.9, 0.999), 1e-6, 0.5), Written(second.detach(), (0.9, 0.999), 1e-6, 0.0)
    ]  # fmt: skip

    for _ in range(5):
        first.grad = second.grad = torch.tensor([1.0, -2.0, 0.5])
        written[0].step(first.grad, 0.01)
        written[1].step(second.grad, 0.1)
        optimizer.step()

    np.testing.assert_allclose(first.detach(), written[0].x, rtol=1e-5)
    np.testing.assert_allclose(second.detach(), written[1].x, rtol=1e-5)
    assert torch.equal(third, torch.arange(1.0, 4.0))
    assert third not in optimizer.state


def test_a_tensor_that_is_0_takes_adams_step_and_a_gradient_of_0_changes_nothing() -> None:
    empty, still = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.ones(3))
    optimizer = Lamb([empty, still], lr=0.1)
    empty.grad, still.grad = torch.tensor([5.0, -5.0, 0.0]), torch.zeros(3)

    optimizer.step()

    torch.testing.assert_close(empty.detach(), torch.tensor([-0.1, 0.1, 0.0]))
    assert torch.equal(still, torch.ones(3))


def test_large_weights_are_trusted_beyond_a_norm_of_10() -> None:
    large = nn.Parameter(torch.full((4,), 1000.0))
    large.grad = torch.ones(4)

    Lamb([large], lr=0.01).step()

    torch.testing.assert_close(large.detach(), torch.full((4,), 990.0))


def test_state_has_adamws_names_in_tensors_and_taken_up_goes_on_bit_for_bit() -> None:
    torch.manual_seed(0)
    model = nn.Linear(4, 3)
    optimizer, gradients = Lamb(model.parameters(), lr=0.01, weight_decay=0.1), torch.randn(6, 3, 4)

    def go(model: nn.Linear, optimizer: Lamb, steps: range) -> None:
        for number in steps:
            model.weight.grad = gradients[number].clone()
            model.bias.grad = gradients[number, :, 0].clone()
            optimizer.step()

    go(model, optimizer, range(3))
    other = copy.deepcopy(model)
    taken_up = Lamb(other.parameters(), lr=1.0)
    taken_up.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    go(model, optimizer, range(3, 6))
    go(other, taken_up, range(3, 6))

    kept = optimizer.state_dict()["state"]
    assert all(set(one) == {"step", "exp_avg", "exp_avg_sq"} for one in kept.values())
    assert all(isinstance(value, Tensor) for one in kept.values() for value in one.values())
    assert set(kept[0]) == set(_adamw_state())
    assert kept[0]["step"] == 6
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(model.bias, other.bias)


def _adamw_state() -> dict[str, Tensor]:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.AdamW([parameter])
    parameter.grad = torch.ones(1)
    optimizer.step()
    return optimizer.state_dict()["state"][0]


@pytest.mark.parametrize("inner", [0.25, 4.0])
def test_a_closure_is_asked_for_the_loss(inner: float) -> None:
    parameter = nn.Parameter(torch.tensor([inner]))
    optimizer = Lamb([parameter], lr=0.01)

    def closure() -> float:
        loss = (parameter**2).sum()
        loss.backward()
        return loss.item()

    assert optimizer.step(closure) == inner**2
    assert parameter.item() == pytest.approx(inner * 0.99)
