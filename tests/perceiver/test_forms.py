"""Every form gives what softmax(q k^T / sqrt(E)) v gives, with the same gradients, whatever the geometry."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reading import (
    FORMS,
    Reading,
    assert_equal,
    evaluated,
    formula,
    grid,
    leaf,
    read,
    reading,
    readings,
    real_rows,
    rows_of,
)
from torch import Tensor

from perceiver.forms import separable
from perceiver.forms.normed import normed
from perceiver.forms.separable import Separable
from perceiver.forms.streamed import Streamed
from perceiver.model import Perceiver
from perceiver.positions import expanded
from perceiver.segment import Segment
from perceiver.settings import Form, ModelSettings, Sharing

Build = Callable[..., Perceiver]
Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]
each_form = pytest.mark.parametrize("form", FORMS)


def several(**changes: Any) -> Reading:
    """A picture, a clip and a set, masked, with encodings, finely cut."""
    segments = [
        grid(sizes=(3, 5), values=2, encoding=3, masked=True),
        grid(sizes=(2, 3, 4), values=1, encoding=1),
        grid(sizes=(), values=6, encoding=5, masked=True),
    ]
    fine = {"streamed_budget": 40, "separable_budget": (40, 3)}
    return reading(segments, **{"heads": 2, **fine, **changes})


def largest_score(case: Reading) -> float:
    """Of the softmax that the forms evaluate."""
    cross, found = case.cross, 0.0
    heads = cross.attention.heads
    for sample, q in enumerate(cross.queries(case.latents)):
        k = cross.attention.key(cross.byte_norm(real_rows(case.segments, sample)))
        k = k.unflatten(1, (heads, -1)).transpose(0, 1)
        found = max(found, (q @ k.mT * q.shape[-1] ** -0.5).abs().max().item())
    return found


@each_form
@settings(deadline=None, max_examples=20)
@given(data=st.data())
def test_a_form_equals_the_formula_on_any_geometry(form: Form, data: st.DataObject) -> None:
    case = data.draw(readings(form))

    found = evaluated(case, form)

    assert_equal(found, formula(case), answers=1e-10, grads=1e-9)
    if form != "textbook":
        assert_equal(found, evaluated(case, "textbook"), answers=1e-10, grads=1e-9)


@each_form
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("sharpness", [0.5, 50.0])
def test_a_form_equals_the_formula_on_several_modalities_cut_finely(
    form: Form, heads: int, sharpness: float
) -> None:
    case = several(heads=heads, sharpness=sharpness)

    found = evaluated(case, form)

    assert_equal(found, formula(case), answers=1e-10, grads=1e-9)


def test_a_block_of_few_positions_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(separable.POSITIONS, "cpu", 5)
    case = reading([grid(sizes=(7, 2), values=2, encoding=3, masked=True)], heads=2)

    assert_equal(evaluated(case, "separable"), formula(case), answers=1e-10, grads=1e-9)


@each_form
@pytest.mark.parametrize("heads", [1, 2])
def test_a_form_in_float32_is_within_its_rounding_of_the_formula_in_float64(form: Form, heads: int) -> None:
    case = several(heads=heads)

    found = evaluated(case.to(torch.float32), form)

    assert_equal(found, formula(case), answers=1e-5, grads=1e-5)


@each_form
def test_float32_holds_over_thousands_of_positions(form: Form) -> None:
    segment = grid(sizes=(48, 48), values=3, features=5, encoding=2, batch=1, masked=True)
    case = reading([segment], latents=32, sharpness=2.0)

    found = evaluated(case.to(torch.float32), form)

    assert_equal(found, evaluated(case, "textbook"), answers=1e-5, grads=5e-5)


@pytest.mark.parametrize("form", ["absorbed", "streamed", "separable"])
def test_a_key_bias_learns_nothing_and_says_so(form: Form) -> None:
    _, grads = evaluated(several(), form)

    assert not grads["attention.key.bias"].any()


@each_form
@pytest.mark.parametrize("sizes", [(40,), (4, 10), (2, 2, 10)])
@pytest.mark.parametrize("latest", ["last", "first"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 5e-4)])
def test_scores_of_hundreds_stay_exact_wherever_the_largest_is(
    form: Form, sizes: tuple[int, ...], latest: str, dtype: torch.dtype, tolerance: float
) -> None:
    """One channel climbs from the first position to the last: the maximum comes late or at once."""
    if form == "separable" and len(sizes) < 2:
        sizes = (1, *sizes)
    segment = grid(sizes=sizes, values=4)
    climb = torch.linspace(-4, 4, 40).expand(2, -1)
    segment.values[..., 0] = climb if latest == "last" else climb.flip(1)
    case = reading([segment], sharpness=300.0, streamed_budget=40, separable_budget=(50, 4))

    found = evaluated(case.to(dtype), form)

    assert largest_score(case) > 300
    assert all(each.isfinite().all() for each in (found[0], *found[1].values()))
    assert_equal(found, formula(case), answers=tolerance, grads=10 * tolerance)


@each_form
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_absurd_scores_stay_finite(form: Form, dtype: torch.dtype) -> None:
    case = several(sharpness=1e5).to(dtype)

    answer, grads = evaluated(case, form)

    assert largest_score(case) > 1e4
    assert answer.isfinite().all()
    assert all(grad.isfinite().all() for grad in grads.values())


@pytest.mark.parametrize("form", ["streamed", "separable"])
def test_segments_merged_by_their_log_sum_exp_are_one_joined_array(form: Form) -> None:
    """The rows of a picture cut in three are the picture."""
    whole = grid(sizes=(6, 4), values=3, masked=True)
    rows = [slice(0, 1), slice(1, 4), slice(4, 6)]
    down, along = whole.axes
    parts = []
    for part in rows:
        places = slice(part.start * 4, part.stop * 4)
        mask = None if whole.mask is None else whole.mask[:, places]
        parts.append(whole._replace(values=whole.values[:, places], axes=(down[part], along), mask=mask))
    case = reading([whole], heads=2, sharpness=5.0)
    cut_up = case.with_segments([_in_float64(part) for part in parts])

    assert_equal(evaluated(cut_up, form), evaluated(case, form), answers=1e-12, grads=1e-11)


def _in_float64(segment: Segment) -> Segment:
    return segment._replace(
        values=segment.values.double(), axes=tuple(table.double() for table in segment.axes)
    )


@each_form
def test_the_order_of_segments_does_not_matter(form: Form) -> None:
    case = several()

    answers = [evaluated(case.with_segments(order), form)[0] for order in permutations(case.segments)]

    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["textbook", "absorbed", "streamed"])
def test_positions_may_come_in_any_order(form: Form) -> None:
    picture = grid(sizes=(5, 7), values=3, masked=True)
    dense = torch.stack([rows_of(picture, sample) for sample in range(2)])
    case = reading([Segment(dense, mask=picture.mask)], sharpness=5.0, streamed_budget=60)
    order = torch.randperm(35)
    values, mask = case.segments[0].values[:, order], picture.mask
    shuffled = case.with_segments([Segment(values, mask=None if mask is None else mask[:, order])])

    assert_equal(evaluated(shuffled, form), evaluated(case, form), answers=1e-12, grads=1e-11)


@pytest.mark.parametrize("form", FORMS)
def test_rows_and_columns_of_a_grid_may_come_in_any_order(form: Form) -> None:
    case = reading([grid(sizes=(5, 7), values=3)], sharpness=5.0, separable_budget=(60, 2))
    segment, rows, columns = case.segments[0], torch.randperm(5), torch.randperm(7)
    values = segment.values.unflatten(1, (5, 7))[:, rows][:, :, columns].flatten(1, 2)
    down, along = segment.axes
    shuffled = case.with_segments([segment._replace(values=values, axes=(down[rows], along[columns]))])

    assert_equal(evaluated(shuffled, form), evaluated(case, form), answers=1e-12, grads=1e-11)
    turned = case.with_segments([segment._replace(axes=(down[rows], along[columns]))])
    assert (evaluated(turned, form)[0] - evaluated(case, form)[0]).abs().max() > 1e-3


@pytest.mark.parametrize("sharing", ["none", "paper", "all"])
@pytest.mark.parametrize("form", ["absorbed", "streamed", "separable", "auto"])
@pytest.mark.parametrize(("heads", "recompute"), [(1, False), (2, True)])
def test_a_whole_network_is_the_same_in_every_form(  # noqa: PLR0913, PLR0917, dimensions and fixtures
    sharing: Sharing,
    form: Form,
    heads: int,
    recompute: bool,
    small: ModelSettings,
    build: Build,
    samples: Samples,
) -> None:
    names = ("image", "video") if form == "separable" else ("image", "mel", "mesh")
    samples = [{**sample, "audio": sample["mel"]} for sample in samples[:3]]
    own = replace(small, blocks=3, sharing=sharing, cross_heads=heads, cross_width=8)
    textbook = build(*names, settings=replace(own, attention="textbook")).double()
    model = build(*names, settings=replace(own, attention=form)).double()
    model.load_state_dict(textbook.state_dict())
    model.recompute = recompute
    batch = model.collate(samples, None)

    wanted, found = logits_and_gradients(textbook, batch), logits_and_gradients(model, batch)

    torch.testing.assert_close(found[0], wanted[0], rtol=1e-10, atol=1e-10)
    most = max(grad.abs().max() for grad in wanted[1].values())
    for name, grad in wanted[1].items():
        torch.testing.assert_close(found[1][name], grad, rtol=1e-9, atol=1e-11 * most, msg=name)


def logits_and_gradients(model: Perceiver, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
    logits = model(batch)
    logits.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    return logits, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_under_bfloat16_is_finite_and_near_float32(
    form: Form, small: ModelSettings, build: Build, samples: Samples
) -> None:
    names = ("image", "video") if form == "separable" else ("image", "mesh")
    model = build(*names, settings=replace(small, attention=form))
    batch = model.collate(samples, None)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch)
    logits.float().sum().backward()

    torch.testing.assert_close(logits.float(), model(batch), rtol=0.1, atol=0.15)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("part", [Streamed, Separable])
def test_autocast_leaves_the_sums_over_positions_alone(part: type[Streamed] | type[Separable]) -> None:
    """Summed in bfloat16, 224 x 224 places are off by 4 %."""
    rows = normed(grid(sizes=(40, 30), values=3, encoding=4))
    plain, reduced = (leaf(torch.full((2, 4, 13), 0.3), torch.float32) for _ in range(2))

    read, lse = part(rows).read(plain)
    read.square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        same, same_lse = part(rows).read(reduced)
    same.square().sum().backward()

    assert read.dtype == torch.float32
    assert torch.equal(same, read)
    assert torch.equal(same_lse, lse)
    assert plain.grad is not None
    assert reduced.grad is not None
    assert torch.equal(reduced.grad, plain.grad)


@pytest.mark.parametrize("wanted", ["values", "features"])
def test_bytes_that_want_a_gradient_get_all_of_it_or_a_refusal(wanted: str) -> None:
    case = reading([grid(sizes=(3, 4), values=3)])
    plain = case.segments[0]
    values, down = leaf(plain.values, torch.float64), leaf(plain.axes[0], torch.float64)
    change = {"values": values} if wanted == "values" else {"axes": (down, plain.axes[1])}
    learning, leaves = case.with_segments([plain._replace(**change)]), values if wanted == "values" else down

    exact, found = (
        torch.autograd.grad(read(learning, form).square().sum(), leaves)[0]
        for form in ("textbook", "absorbed")
    )

    torch.testing.assert_close(found, exact, rtol=1e-9, atol=1e-9)
    for form in ("streamed", "separable"):
        with pytest.raises(
            ValueError, match=r"encodings only: choose model.attention = textbook or absorbed"
        ):
            read(learning, form)
        with torch.no_grad():
            torch.testing.assert_close(read(learning, form), read(learning, "textbook"))


@pytest.mark.parametrize("budget", [1, 11, 100, 1 << 19])
def test_how_the_byte_array_is_cut_does_not_matter(budget: int) -> None:
    """One score a chunk, ragged last chunks, several samples together, all at once."""
    case = several()
    finely = replace(case, streamed_budget=budget, separable_budget=(budget, max(1, budget // 4)))

    for form in ("streamed", "separable"):
        assert_equal(evaluated(finely, form), evaluated(case, form), answers=1e-12, grads=1e-11)


def test_the_expansion_of_a_grid_is_row_major() -> None:
    segment = grid(sizes=(2, 3, 4), values=1)

    assert torch.equal(expanded(segment.axes), rows_of(segment, 0)[:, 1:])
