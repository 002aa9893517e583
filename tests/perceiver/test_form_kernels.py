"""The two kernels with a backward pass of their own: lawful operators, right gradients, little memory."""

from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
import torch
from reading import FORMS, Reading, cut, evaluated, grid, read, reading
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from perceiver.forms import separable, streamed
from perceiver.forms.folding import UNSEEN
from perceiver.settings import Form

OPERATORS = ("streamed", "separable")
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")
KERNELS: Mapping[str, Any] = {
    "perceiver::streamed": streamed.forward,
    "perceiver::streamed_backward": streamed.backward,
    "perceiver::separable": separable.forward,
    "perceiver::separable_backward": separable.backward,
}


def wanted(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def data(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def streamed_arguments(masked: bool) -> tuple[Tensor | None, ...]:
    """q, values, table, scale, mask of two samples, three queries, five positions."""
    mask = torch.tensor([[True, False, True, True, True], [True, True, True, False, False]])
    scale = (torch.rand(2, 5, dtype=torch.float64) + 0.5).requires_grad_()
    return wanted(2, 3, 4), data(2, 5, 2), data(5, 2), scale, mask if masked else None


def separable_arguments(masked: bool) -> tuple[Tensor, ...]:
    """own, down, along, values, scale, bias of two samples, four queries, 2 x 3 places."""
    scale = torch.rand(2, 2, 3, dtype=torch.float64) + 0.5
    bias = scale.log2()
    if masked:
        bias[0, 1] = bias[1, 0, 2] = UNSEEN
    return (
        wanted(2, 1, 4),
        wanted(2, 2, 4),
        wanted(2, 3, 4),
        data(2, 2, 3, 1),
        scale.requires_grad_(),
        bias,
    )


ARGUMENTS: Mapping[str, Callable[..., tuple[Any, ...]]] = {
    "streamed": streamed_arguments,
    "separable": separable_arguments,
}


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_keeps_the_laws_of_torch_library(operator: str) -> None:
    operation = {"streamed": streamed._forward, "separable": separable._forward}[operator]

    torch.library.opcheck(operation, ARGUMENTS[operator](masked=True))


def test_the_backward_operators_keep_the_laws_of_torch_library() -> None:
    with torch.no_grad():
        rows, grid_ = streamed_arguments(True), separable_arguments(True)
        read, lse = cast(tuple[Tensor, ...], streamed._forward(*rows))
        sums = list(cast(tuple[Tensor, ...], separable._forward(*grid_)))
        rows = tuple(each if each is None else each.detach() for each in rows)
        inputs = [each.detach() for each in grid_]

    torch.library.opcheck(
        streamed._backward,
        (torch.randn_like(read), torch.randn_like(lse), *rows, read, lse, True),
        test_utils=QUICK,
    )
    torch.library.opcheck(
        separable._backward, ([torch.randn_like(each) for each in sums], inputs, sums, True), test_utils=QUICK
    )


@pytest.mark.parametrize(("masked", "budget"), [(True, 4), (False, 1 << 19)])
def test_the_streamed_kernels_gradients_are_those_of_small_differences(masked: bool, budget: int) -> None:
    q, values, table, scale, mask = streamed_arguments(masked)
    assert isinstance(q, Tensor)

    with cut(budget, (1, 1)):
        assert torch.autograd.gradcheck(
            lambda q, scale: finite(streamed._forward(q, values, table, scale, mask)), (q, scale)
        )


@pytest.mark.parametrize(("masked", "budget"), [(True, (4, 2)), (False, (1 << 18, 256))])
def test_the_separable_kernels_gradients_are_those_of_small_differences(
    masked: bool, budget: tuple[int, int]
) -> None:
    *queries, values, scale, bias = separable_arguments(masked)
    hidden = bias == UNSEEN

    def kernel(own: Tensor, down: Tensor, along: Tensor, scale: Tensor) -> tuple[Tensor, ...]:
        """The bias is the scale's logarithm; what it contributes is in the scale's own gradient."""
        bias = scale.detach().log2().masked_fill(hidden, UNSEEN)
        return finite(separable._forward(own, down, along, values, scale, bias))

    with cut(1, budget):
        assert torch.autograd.gradcheck(kernel, (*queries, scale))


def finite(found: Any) -> tuple[Tensor, ...]:
    assert all(each.isfinite().all() for each in found)
    return tuple(found)


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_second_derivative_is_refused_with_the_form_that_has_it(operator: str) -> None:
    operation = {"streamed": streamed._forward, "separable": separable._forward}[operator]
    arguments = ARGUMENTS[operator](masked=False)
    assert isinstance(arguments[0], Tensor)
    (first,) = torch.autograd.grad(operation(*arguments)[0].sum(), arguments[:1], create_graph=True)

    with pytest.raises(RuntimeError, match=r"model\.attention = textbook"):
        first.square().sum().backward()


class Largest(TorchDispatchMode):
    """Numbers in the largest storage that any operation hands out, those inside the kernels included."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kernel = KERNELS.get(func.name().split(".")[0])
        if kernel is None:
            out = func(*args, **(kwargs or {}))
        else:
            with self:
                out = kernel(*args, **(kwargs or {}))
        for each in torch.utils._pytree.tree_leaves(out):
            if isinstance(each, Tensor):
                self.numbers = max(self.numbers, each.untyped_storage().nbytes() // each.element_size())
        return out


def largest(case: Reading, form: Form) -> int:
    """Of a forward and a backward pass."""
    with Largest() as seen:
        evaluated(case, form)
    return seen.numbers


LATENTS, SIDE, CHANNELS, BUDGET = 24, 40, 3, 2400


def wide() -> Reading:
    """1600 positions of 12 channels, which 2 x 24 queries read."""
    segment = grid(sizes=(SIDE, SIDE), values=CHANNELS, encoding=3, batch=1, masked=True)
    budgets = {"streamed_budget": BUDGET, "separable_budget": (BUDGET, 32)}
    return reading([segment], latents=LATENTS, heads=2, inner=4, **budgets)


@pytest.mark.parametrize("form", OPERATORS)
def test_no_matrix_of_queries_by_positions_is_ever_made(form: Form) -> None:
    """Not even one of a byte: the largest tensor is the byte array itself, or a chunk."""
    case, positions = wide(), SIDE * SIDE

    made = largest(case, form)

    rows = 16 * positions  # 3 + 3 + 3 + 3 channels and those that extend and pad them
    assert made <= max(2 * BUDGET, rows) < 2 * LATENTS * positions


def test_the_softmax_matrix_would_be_seen_if_it_were_made() -> None:
    case, positions = wide(), SIDE * SIDE

    with Largest() as seen:
        q = case.cross.queries(case.latents)
        (q @ torch.randn(2, positions, 2, dtype=q.dtype).mT).softmax(-1)

    assert seen.numbers == 2 * LATENTS * positions


@pytest.mark.parametrize("form", OPERATORS)
def test_a_longer_byte_array_costs_the_backward_pass_nothing_per_query(form: Form) -> None:
    """What autograd keeps: the bytes once, and per query what does not grow with the positions."""

    def kept(latents: int, side: int) -> int:
        torch.manual_seed(0)
        case = reading([grid(sizes=(side, side), values=3, batch=1)], latents=latents)
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            answer = read(case, form)
        assert answer.requires_grad
        return sum(storages.values())

    def per_query(side: int) -> float:
        return (kept(48, side) - kept(16, side)) / 32 / 8

    grown = per_query(32) - per_query(8)

    assert grown <= {"streamed": 0, "separable": 6 * (32 - 8)}[form]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_serves_without_gradients(form: Form) -> None:
    case = wide()

    with torch.inference_mode():
        served = read(case, form)

    assert torch.equal(served, read(case, form))
