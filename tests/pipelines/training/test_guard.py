"""Whether a step is taken: not if its loss is no number or explodes; too many such steps end the run."""

import math

import pytest

from cluster.mistake import UserError
from perceiver.train_settings import TrainSettings
from pipelines.training.guard import Guard, Verdict
from pipelines.training.state import Progress

SETTINGS = TrainSettings(explosion=10.0, patience=3, rollbacks=2)
GUARD = Guard(settings=SETTINGS, guessing=math.log(10))
NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("loss", "norm", "moving", "streak", "verdict"),
    [
        (2.3, 1.0, False, 0, "take"),
        (2.3, 1.0, False, 2, "take"),
        (23.0, 1e30, False, 0, "take"),  # 10 log 10 = 23.026
        (23.1, 1.0, False, 0, "skip"),
        (23.1, 1.0, True, 0, "skip"),
        (NAN, 1.0, False, 0, "skip"),
        (INF, NAN, False, 1, "skip"),
        (-INF, 1.0, False, 0, "skip"),
        (NAN, 1.0, True, 0, "skip"),
        (2.3, NAN, False, 0, "skip"),
        (2.3, INF, False, 1, "skip"),
        (2.3, INF, True, 0, "rescale"),
        (2.3, NAN, True, 2, "rescale"),
        (NAN, 1.0, False, 2, "roll back"),
        (23.1, 1.0, False, 2, "roll back"),
        (2.3, INF, False, 2, "roll back"),
        (NAN, NAN, True, 2, "roll back"),
    ],
)
def test_a_step_is_judged_by_its_loss_its_gradient_and_those_before_it(
    loss: float, norm: float, moving: bool, streak: int, verdict: Verdict
) -> None:
    assert GUARD.verdict(Progress(streak=streak), loss, norm, moving) == verdict


def test_with_a_patience_of_one_the_first_bad_step_goes_back() -> None:
    guard = Guard(settings=TrainSettings(patience=1), guessing=1.0)

    assert guard.verdict(Progress(), NAN, 1.0, False) == "roll back"


def test_without_a_bound_only_what_is_no_number_is_bad() -> None:
    guard = Guard(settings=TrainSettings(explosion=0.0), guessing=1.0)

    assert guard.verdict(Progress(), 1e30, 1e30, False) == "take"
    assert guard.verdict(Progress(), NAN, 1.0, False) == "skip"


@pytest.mark.parametrize(
    ("loss", "norm", "what"),
    [
        (NAN, 1.0, r"The loss is nan \(guessing's is 2\.3\)"),
        (345.6, 1.0, r"The loss is 345\.6 \(guessing's is 2\.3\)"),
        (2.0, INF, r"The gradient's norm is inf"),
    ],
)
def test_the_report_names_step_counts_and_the_ways_out(loss: float, norm: float, what: str) -> None:
    progress = Progress(step=41, learnt=30, skipped=8, streak=2, rollbacks=2)

    with pytest.raises(UserError) as stopped:
        GUARD.verdict(progress, loss, norm, False)

    said = (
        rf"{what} at step 42, the 3\. such step in a row; 9 steps were not taken in all, and the weights "
        r"went back to a checkpoint 2 times\. Lower train\.rate, lengthen train\.warmup or set train\.clip, "
        r"in another --workspace; the last good checkpoint is kept\."
    )
    stopped.match(rf"^{said}$")


def test_a_run_that_may_never_go_back_stops_at_the_end_of_its_patience() -> None:
    guard = Guard(settings=TrainSettings(rollbacks=0), guessing=1.0)

    assert guard.verdict(Progress(streak=1), NAN, 1.0, False) == "skip"
    with pytest.raises(UserError, match="went back to a checkpoint 0 times"):
        guard.verdict(Progress(streak=2), NAN, 1.0, False)
