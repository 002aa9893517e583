"""Losses equal to torch's own and to their definitions, summed so that slices add up."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from perceiver.loss import OBJECTIVES, correct, hits, loss_sum, sigmoid_loss_sum
from perceiver.settings import Labels

CLASSES = 5
LOGITS = torch.randn(9, CLASSES, generator=torch.Generator().manual_seed(0)) * 3
ONE = torch.tensor([0, 1, 2, 3, 4, 0, 1, 2, 3])
MIXED = torch.rand(9, CLASSES, generator=torch.Generator().manual_seed(1)).softmax(1)
SEVERAL = (torch.rand(9, CLASSES, generator=torch.Generator().manual_seed(2)) < 0.4).to(torch.uint8)

TARGETS: list[tuple[Labels, Tensor]] = [
    ("one", ONE),
    ("one", MIXED),
    ("several", SEVERAL),
    ("several", MIXED),
]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("labels", "targets"), TARGETS)
@pytest.mark.parametrize("cut", [1, 4, 8])
def test_the_losses_of_slices_add_up(labels: Labels, targets: Tensor, smoothing: float, cut: int) -> None:
    loss = OBJECTIVES[labels].loss_sum

    whole = loss(LOGITS, targets, smoothing)
    parts = loss(LOGITS[:cut], targets[:cut], smoothing) + loss(LOGITS[cut:], targets[cut:], smoothing)

    torch.testing.assert_close(parts, whole)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_label_is_softmax_cross_entropy_however_it_is_written(smoothing: float) -> None:
    log = LOGITS.log_softmax(1)
    wanted = -((1 - smoothing) * log[torch.arange(9), ONE] + smoothing * log.mean(1)).sum()

    torch.testing.assert_close(loss_sum(LOGITS, ONE, smoothing), wanted)
    torch.testing.assert_close(loss_sum(LOGITS, F.one_hot(ONE, CLASSES).float(), smoothing), wanted)


def test_a_mixture_costs_what_its_classes_cost_each_by_its_share() -> None:
    other = ONE.roll(1)
    shares = 0.3 * F.one_hot(ONE, CLASSES).float() + 0.7 * F.one_hot(other, CLASSES).float()

    for smoothing in (0.0, 0.1):
        apart = 0.3 * loss_sum(LOGITS, ONE, smoothing) + 0.7 * loss_sum(LOGITS, other, smoothing)
        torch.testing.assert_close(loss_sum(LOGITS, shares, smoothing), apart)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32])
def test_several_labels_are_sigmoid_cross_entropy_over_classes_and_samples(dtype: torch.dtype) -> None:
    p, y = LOGITS.double().sigmoid(), SEVERAL.double()
    wanted = -(y * p.log() + (1 - y) * (1 - p).log()).sum()

    assert sigmoid_loss_sum(LOGITS, SEVERAL.to(dtype)).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_smoothing_of_several_labels_spreads_over_yes_and_no() -> None:
    smooth = SEVERAL.float() * 0.8 + (1 - SEVERAL.float()) * 0.2
    wanted = F.binary_cross_entropy_with_logits(LOGITS, smooth, reduction="sum")

    torch.testing.assert_close(sigmoid_loss_sum(LOGITS, SEVERAL, 0.4), wanted)


@pytest.mark.parametrize(("labels", "targets"), TARGETS)
def test_logits_and_targets_in_bfloat16_are_summed_up_in_float32(labels: Labels, targets: Tensor) -> None:
    logits, loss = LOGITS.repeat(100, 1).bfloat16(), OBJECTIVES[labels].loss_sum
    targets = targets.repeat(100, *[1] * (targets.ndim - 1))

    found = loss(logits, targets, 0.0)

    assert found.dtype == torch.float32
    torch.testing.assert_close(found, loss(logits.float(), targets, 0.0))


def test_an_answer_of_one_label_is_right_where_the_highest_logit_is_the_labels() -> None:
    best = LOGITS.argmax(1)

    assert correct(LOGITS, best) == 9
    assert correct(LOGITS, (best + 1) % CLASSES) == 0
    assert correct(LOGITS, torch.cat([best[:4], (best[4:] + 1) % CLASSES])) == 4


def test_an_answer_to_a_mixture_is_right_where_it_is_the_larger_part() -> None:
    best = F.one_hot(LOGITS.argmax(1), CLASSES).float()

    assert correct(LOGITS, 0.6 * best + 0.4 * best.roll(1, 1)) == 9
    assert correct(LOGITS, 0.4 * best + 0.6 * best.roll(1, 1)) == 0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_an_answer_of_several_labels_is_right_where_the_highest_is_one_of_them(dtype: torch.dtype) -> None:
    best = F.one_hot(LOGITS.argmax(1), CLASSES)

    assert hits(LOGITS, (best + best.roll(2, 1)).to(dtype)) == 9
    assert hits(LOGITS, (1 - best).to(dtype)) == 0
    assert hits(LOGITS, torch.zeros(9, CLASSES, dtype=dtype)) == 0


def test_probabilities_are_what_the_loss_takes_them_for() -> None:
    soft, each = (OBJECTIVES[labels].probabilities(LOGITS) for labels in ("one", "several"))

    assert -soft[torch.arange(9), ONE].log().sum().item() == pytest.approx(loss_sum(LOGITS, ONE).item())
    y = SEVERAL.float()
    apart = -(y * each.log() + (1 - y) * (1 - each).log()).sum().item()
    assert apart == pytest.approx(sigmoid_loss_sum(LOGITS, SEVERAL).item(), rel=1e-4)


def test_labels_become_shares_that_cost_the_same() -> None:
    for labels, targets in (TARGETS[0], TARGETS[2]):
        objective = OBJECTIVES[labels]
        shares = objective.shares(targets, CLASSES)

        assert shares.dtype == torch.float32
        torch.testing.assert_close(
            objective.loss_sum(LOGITS, shares, 0.1), objective.loss_sum(LOGITS, targets, 0.1)
        )


def test_labels_of_another_number_of_classes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels \(9, 5\) are not \[samples, 7 classes\]"):
        OBJECTIVES["several"].shares(SEVERAL, 7)


def test_an_untrained_head_costs_log_2_a_class_or_log_k() -> None:
    nothing = torch.zeros(9, CLASSES)

    assert loss_sum(nothing, ONE).item() == pytest.approx(9 * math.log(CLASSES), rel=1e-5)
    assert sigmoid_loss_sum(nothing, SEVERAL).item() == pytest.approx(9 * CLASSES * math.log(2), rel=1e-5)
