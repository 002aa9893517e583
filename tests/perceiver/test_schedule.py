"""The rate factor at five steps of each schedule."""

import math

import pytest

from perceiver.schedule import rate_factor
from perceiver.train_settings import TrainSettings


def test_cosine_climbs_peaks_and_falls_to_zero() -> None:
    settings = TrainSettings(schedule="cosine", warmup=0.1)

    factors = [rate_factor(settings, step, 100) for step in (0, 4, 10, 55, 99)]

    assert factors == pytest.approx([0.1, 0.5, 1, 0.5, 0.5 * (1 + math.cos(math.pi * 89 / 90))])


def test_step_is_the_papers_tenth_at_epochs_84_102_and_114_of_120() -> None:
    settings = TrainSettings(schedule="step", warmup=0.0)

    factors = [rate_factor(settings, epoch, 120) for epoch in (0, 83, 84, 102, 114)]

    assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.001])


def test_constant_stays_after_its_warm_up() -> None:
    settings = TrainSettings(schedule="constant", warmup=0.2)

    assert [rate_factor(settings, step, 10) for step in (0, 1, 2, 5, 9)] == pytest.approx([0.5, 1, 1, 1, 1])


@pytest.mark.parametrize("warmup", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("schedule", ["cosine", "step", "constant"])
@pytest.mark.parametrize("total", [1, 2, 7])
def test_a_factor_is_never_negative_nor_above_one(schedule: str, warmup: float, total: int) -> None:
    settings = TrainSettings(schedule=schedule, warmup=warmup)  # type: ignore[arg-type]

    assert all(0 <= rate_factor(settings, step, total) <= 1 for step in range(total))
    assert rate_factor(settings, 0, total) > 0
