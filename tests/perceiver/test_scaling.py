"""The loss scale moves as torch's GradScaler moves its own."""

import warnings
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perceiver.scaling import FIRST, GROWS_AFTER, LossScale


def of_torch(steps: list[bool], begin: float, grows_after: int) -> list[float]:
    """The factor after each step of a GradScaler whose gradient is finite, or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it knows no tests on the CPU of long runs
        scaler = torch.amp.GradScaler("cpu", init_scale=begin, growth_interval=grows_after)
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    factors: list[float] = []
    for finite in steps:
        optimizer.zero_grad()
        scaler.scale((weight * (1.0 if finite else float("inf"))).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        factors.append(scaler.get_scale())
    return factors


def ours(steps: list[bool], begin: LossScale) -> list[float]:
    scale, factors = begin, []
    for finite in steps:
        scale = scale.after(finite)
        factors.append(scale.factor)
    return factors


@given(st.lists(st.booleans(), min_size=1, max_size=16))  # As many halvings lead down to 1, where ours stops.
def test_it_backs_off_like_torchs(steps: list[bool]) -> None:
    assert ours(steps, LossScale.of("float16")) == of_torch(steps, FIRST, GROWS_AFTER)


def test_over_a_whole_interval_it_is_torchs() -> None:
    steps = [False, *[True] * GROWS_AFTER, True, False, *[True] * (GROWS_AFTER + 5)]

    assert ours(steps, LossScale.of("float16")) == of_torch(steps, FIRST, GROWS_AFTER)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_formats_need_none(precision: str) -> None:
    scale = LossScale.of(precision)  # pyright: ignore[reportArgumentType]

    assert scale.after(False) == scale.after(True) == scale == LossScale(factor=1.0, moves=False)


def test_it_never_makes_a_loss_smaller() -> None:
    """Below 1 it would cost what it is for: then the gradients themselves are too large."""
    assert ours([False] * 20, LossScale.of("float16"))[-1] == 1.0


def test_it_goes_on_from_its_numbers() -> None:
    scale = LossScale.of("float16").after(False).after(True).after(True)

    assert asdict(scale) == {"factor": FIRST / 2, "moves": True, "steps": 2}
    assert LossScale(**asdict(scale)).after(True) == scale.after(True)
