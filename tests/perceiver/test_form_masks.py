"""What is masked does not exist: not its bytes, not its gradients, not its modality."""

import pytest
import torch
from reading import FORMS, Reading, assert_equal, evaluated, formula, grid, reading

from perceiver.segment import Segment
from perceiver.settings import Form

each_form = pytest.mark.parametrize("form", FORMS)
each_precision = pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
GARBAGE = [float("nan"), float("inf"), -float("inf"), 1e30]


def two(first: list[bool], second: list[bool]) -> Reading:
    """A picture and a clip, each partly masked, and wholly in the samples that are said to lack it."""
    segments = []
    for there, sizes, values, encoding in ((first, (4, 5), 3, 2), (second, (2, 2, 3), 1, 1)):
        plain = grid(sizes=sizes, values=values, encoding=encoding, batch=len(there), masked=True)
        assert plain.mask is not None
        segments.append(plain._replace(mask=plain.mask & torch.tensor(there)[:, None]))
    return reading(segments, heads=2, streamed_budget=50, separable_budget=(50, 4))


def soiled(segment: Segment, garbage: float) -> Segment:
    """Garbage wherever nothing is real."""
    assert segment.mask is not None
    return segment._replace(values=torch.where(segment.mask[..., None], segment.values, garbage))


@each_form
@each_precision
@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_where_nothing_is_real_changes_not_one_bit(
    form: Form, dtype: torch.dtype, garbage: float
) -> None:
    case = two([True, True, False], [True, False, False]).to(dtype)
    dirty = case.with_segments([soiled(segment, garbage) for segment in case.segments])

    (answer, grads), (same, same_grads) = evaluated(case, form), evaluated(dirty, form)

    assert torch.equal(answer, same)
    assert all(torch.equal(grads[name], same_grads[name]) for name in grads)


@each_form
@each_precision
@pytest.mark.parametrize("garbage", [0.0, float("nan")])
def test_samples_with_nothing_real_are_finite_and_read_zeros(
    form: Form, dtype: torch.dtype, garbage: float
) -> None:
    case = two([True, False, False], [False, True, False])
    dirty = case.with_segments([soiled(segment, garbage) for segment in case.segments])

    found = evaluated(dirty.to(dtype), form)

    exact = dtype == torch.float64
    assert all(each.isfinite().all() for each in (found[0], *found[1].values()))
    assert_equal(found, formula(case), answers=1e-10 if exact else 1e-5, grads=1e-9 if exact else 1e-5)


@each_form
@pytest.mark.parametrize("nothing", [0, 1])
def test_a_modality_that_every_sample_lacks_might_as_well_not_be_there(form: Form, nothing: int) -> None:
    there = [True, True]
    case = two(*([False, False] if number == nothing else there for number in range(2)))
    other = case.with_segments([case.segments[1 - nothing]])

    answer, grads = evaluated(case, form)
    alone, alone_grads = evaluated(other, form)

    torch.testing.assert_close(answer, alone, rtol=1e-12, atol=1e-12)
    assert not grads.pop(f"encoding {nothing}").any()
    grads["encoding 0"] = grads.pop(f"encoding {1 - nothing}")
    assert_equal((answer, grads), (alone, alone_grads), answers=1e-12, grads=1e-11)


@each_form
def test_a_sample_that_lacks_a_modality_is_answered_as_without_it(form: Form) -> None:
    case = two([True, True], [True, False])

    answer, _ = evaluated(case, form)

    without, _ = evaluated(case.with_segments(case.segments[:1]), form)
    torch.testing.assert_close(answer[1], without[1], rtol=1e-12, atol=1e-12)
    assert (answer[0] - without[0]).abs().max() > 1e-3


@each_form
def test_a_mask_that_hides_nothing_is_no_mask(form: Form) -> None:
    case = reading([grid(sizes=(3, 4), values=2, encoding=2)])
    masked = case.with_segments([case.segments[0]._replace(mask=torch.ones(2, 12, dtype=torch.bool))])

    assert_equal(evaluated(masked, form), evaluated(case, form), answers=1e-13, grads=1e-13)


@each_form
@pytest.mark.parametrize("only", [0, 11])
def test_one_real_position_is_read_alone_wherever_it_is(form: Form, only: int) -> None:
    """The chunks before and after it hold nothing."""
    mask = torch.arange(12).expand(2, -1) == only
    segment = grid(sizes=(3, 4), values=2, encoding=2)._replace(mask=mask)
    case = reading([segment], streamed_budget=15, separable_budget=(10, 2))

    assert_equal(evaluated(case, form), formula(case), answers=1e-10, grads=1e-9)


@each_form
def test_scores_far_below_zero_are_still_above_what_is_masked(form: Form) -> None:
    """In float32, where the peak of a chunk that is masked altogether must fade to nothing."""
    mask = torch.arange(12).expand(2, -1) >= 8
    segment = grid(sizes=(3, 4), values=2)._replace(mask=mask)
    case = reading([segment], sharpness=1e3, streamed_budget=20, separable_budget=(20, 5))

    answer, _ = evaluated(case.to(torch.float32), form)

    torch.testing.assert_close(answer.double(), formula(case)[0], rtol=1e-3, atol=1e-3)
