"""What the two forms with a backward pass of their own share: base 2, a floor, blocks that fit a cache.

Exponentials and log-sum-exps inside are to the base 2: a CPU's exp is slow where it underflows, exp2 is not.
From a floor up, as denormal numbers are slow: 2^-80 summed over a million positions is below float64's
rounding.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch

LAUNCH = 1 << 26
"""Scores of one block where there is no cache to stay in, but launches to save: 256 MiB."""

LOG2E, LN2, FLOOR = 1 / math.log(2.0), math.log(2.0), -80.0

_LIBRARY = torch.library.Library("perceiver", "FRAGMENT")

P = ParamSpec("P")
R = TypeVar("R")


def slices(size: int, step: int) -> list[slice]:
    """`size` places in order, `step` at a time."""
    return [slice(begin, min(begin + step, size)) for begin in range(0, size, step)]


def in_given_precision(function: Callable[P, R]) -> Callable[P, R]:
    """Autocast changes nothing in there: sums over 50,000 positions want the precision of the rows."""

    @functools.wraps(function)
    def plain(*args: P.args, **kwargs: P.kwargs) -> R:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return function(*args, **kwargs)

    return plain


def operator(name: str, schema: str, kernel: Callable[..., Any], shapes: Callable[..., Any]) -> Any:
    """A function as one operator, which torch.compile takes whole instead of tracing its loops.

    `shapes` makes empty results. `torch.library.custom_op` would do the same, but loads the whole compiler
    (800 modules, 80 MiB) at the first call.
    """
    _LIBRARY.define(f"{name}{schema}", tags=torch.Tag.pt2_compliant_tag)
    _LIBRARY.impl(name, in_given_precision(kernel), "CompositeExplicitAutograd")
    torch.library.register_fake(f"perceiver::{name}", shapes, lib=_LIBRARY)
    return getattr(torch.ops.perceiver, name).default


def differentiable(name: str, gradients: Callable[..., Any]) -> None:
    """Give the operator its backward pass, from its inputs and outputs."""
    torch.library.register_autograd(f"perceiver::{name}", gradients, setup_context=_keep, lib=_LIBRARY)


def only_once(name: str) -> None:
    """Refuse to differentiate a backward operator: torch would try, and fail inside."""

    def refuse(*_: Any) -> None:
        raise RuntimeError(
            "second derivatives of cross-attention are there in one form only: model.attention = textbook"
        )

    torch.library.register_autograd(f"perceiver::{name}", refuse, lib=_LIBRARY)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Any, ...]) -> None:
    ctx.save_for_backward(*inputs, *output)
