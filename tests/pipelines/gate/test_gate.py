"""The gate: what is not better never passes, what is clearly better does."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score

from pipelines.gate.decision import decide, right
from pipelines.gate.resampling import difference_draws, precision_draws, tail
from pipelines.gate.settings import GateSettings

NAMES = tuple("abcdefgh")
SETTINGS = GateSettings()
Answers = NDArray[np.float64]


def labels_of(samples: int, classes: int = 4, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, classes, samples)


def answers(labels: NDArray[np.int64], wrong: NDArray[np.bool_], classes: int = 4) -> Answers:
    """Sure of the right class, except where it is sure of the next."""
    return np.eye(classes)[(labels + wrong) % classes]


def erring(labels: NDArray[np.int64], share: float, seed: int) -> Answers:
    return answers(labels, np.random.default_rng(seed).random(len(labels)) < share)


def test_a_clearly_better_model_is_promoted() -> None:
    labels = labels_of(400)

    decision = decide(labels, erring(labels, 0.1, 1), erring(labels, 0.4, 2), NAMES, SETTINGS)

    assert decision.promoted
    assert decision.low > 0.2
    assert decision.p is not None
    assert decision.p < 1e-9
    assert "accuracy is 0.3" in decision.reason


def test_a_worse_an_equal_and_an_identical_model_are_refused() -> None:
    labels = labels_of(400)
    champion = erring(labels, 0.2, 1)

    for candidate in (erring(labels, 0.4, 2), erring(labels, 0.2, 3), champion):
        decision = decide(labels, candidate, champion, NAMES, SETTINGS)
        assert not decision.promoted
        assert "accuracy is not shown to be higher" in decision.reason


def test_a_better_model_on_too_few_samples_is_refused_for_that_reason_alone() -> None:
    labels = labels_of(99)

    decision = decide(labels, erring(labels, 0.0, 1), erring(labels, 0.6, 2), NAMES, SETTINGS)

    assert not decision.promoted
    assert decision.reason == "99 test samples are fewer than gate.samples (100)"


def test_a_few_lucky_samples_do_not_suffice_where_the_bootstrap_alone_would_believe_them() -> None:
    labels = labels_of(200)
    champion = answers(labels, np.arange(200) < 4)

    decision = decide(labels, answers(labels, np.zeros(200, bool)), champion, NAMES, SETTINGS)

    assert decision.low > 0
    assert decision.p == pytest.approx(0.125)
    assert not decision.promoted


def test_a_class_that_falls_far_is_refused_whatever_the_others_gain() -> None:
    labels = labels_of(2000)
    champion = erring(labels, 0.4, 1)
    candidate = answers(labels, (labels == 2) & (np.random.default_rng(2).random(2000) < 0.6))

    decision = decide(labels, candidate, champion, NAMES, SETTINGS)

    assert decision.low > 0.1
    assert not decision.promoted
    assert decision.reason.startswith("c fell from 0.594 to 0.387 (520 samples)")
    assert [one.name for one in decision.classes if one.fell] == ["c"]


def test_a_fall_that_chance_explains_is_no_fall() -> None:
    labels = np.repeat(np.arange(4), [500, 500, 500, 8])
    champion = answers(labels, np.random.default_rng(1).random(1508) < np.where(labels == 3, 0, 0.4))
    candidate = answers(labels, np.arange(1508) == 1507)

    decision = decide(labels, candidate, champion, NAMES, SETTINGS)

    assert decision.promoted
    assert decision.classes[3].champion - decision.classes[3].candidate > SETTINGS.class_drop


def test_the_margin_has_to_be_cleared_by_the_lower_bound() -> None:
    labels = labels_of(1000)
    candidate, champion = erring(labels, 0.1, 1), erring(labels, 0.2, 2)

    assert decide(labels, candidate, champion, NAMES, SETTINGS).promoted
    refused = decide(labels, candidate, champion, NAMES, GateSettings(margin=0.1))
    assert "by more than gate.margin (0.1)" in refused.reason


def test_the_first_champion_has_to_beat_guessing_the_most_frequent_class() -> None:
    labels = np.repeat([0, 1], [40, 160])
    always = np.tile([0.1, 0.9], (200, 1))

    assert not decide(labels, always, None, NAMES, SETTINGS).promoted
    learnt = decide(labels, np.eye(2)[labels], None, NAMES, SETTINGS)
    assert learnt.promoted
    assert learnt.champion == 0.8
    assert "guessing the most frequent class" in learnt.reason


def test_several_labels_are_compared_by_their_mean_average_precision() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((300, 3)) < 0.3).astype(np.uint8)
    noise = generator.random((2, 300, 3))
    good, poor = labels * 0.8 + noise[0], labels * 0.2 + noise[1]

    better = decide(labels, good, poor, NAMES, SETTINGS)

    expected = np.mean([average_precision_score(labels[:, k], good[:, k]) for k in range(3)])
    assert (better.metric, better.p, better.candidate) == ("mAP", None, pytest.approx(expected))
    assert better.promoted
    assert not decide(labels, poor, good, NAMES, SETTINGS).promoted
    assert not decide(labels, good, good, NAMES, SETTINGS).promoted
    first = decide(labels, good, None, NAMES, SETTINGS)
    assert (first.promoted, first.champion) == (True, pytest.approx(labels.mean()))
    assert not decide(labels, noise[0], None, NAMES, SETTINGS).promoted


def test_a_label_of_several_whose_precision_falls_far_is_refused() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((400, 3)) < 0.4).astype(np.uint8)
    noise = generator.random((2, 400, 3))
    candidate, champion = labels * 1.0 + noise[0], labels * [0.0, 0.0, 0.9] + noise[1]
    candidate[:, 2] = noise[0][:, 2]

    decision = decide(labels, candidate, champion, NAMES, SETTINGS)

    assert decision.low > 0
    assert decision.reason.startswith("c fell from")


def test_equal_models_pass_no_more_often_than_the_stated_rate() -> None:
    """Of 1,000 pairs: 2.5 % is stated, 3.5 % is two standard errors more."""
    generator, passed = np.random.default_rng(7), []
    for number in range(1000):
        samples, share = ((100, 0.05), (150, 0.3), (600, 0.1))[number % 3]
        labels = generator.integers(0, 4, samples)
        ours, theirs = (answers(labels, generator.random(samples) < share) for _ in range(2))
        passed.append(decide(labels, ours, theirs, NAMES, GateSettings(draws=500)).promoted)

    assert 0 < np.mean(passed) <= 0.035


def test_equal_models_of_several_labels_pass_no_more_often_than_the_stated_rate() -> None:
    generator, passed = np.random.default_rng(7), []
    settings = GateSettings(draws=300)
    for _ in range(150):
        labels = (generator.random((150, 3)) < 0.3).astype(np.uint8)
        ours, theirs = (labels * 0.4 + generator.random((150, 3)) for _ in range(2))
        passed.append(decide(labels, ours, theirs, NAMES, settings).promoted)

    assert np.mean(passed) <= 0.05


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.integers(2, 6), st.floats(0, 1))
def test_identical_answers_are_never_promoted(seed: int, samples: int, classes: int, share: float) -> None:
    labels = labels_of(samples, classes, seed)
    wrong = np.random.default_rng(seed).random(samples) < share
    same = answers(labels, wrong, classes)

    assert not decide(labels, same, same.copy(), NAMES, GateSettings(samples=1, draws=200)).promoted


@given(st.integers(0, 2**32 - 1), st.integers(1, 400), st.floats(0, 1), st.floats(0, 1))
def test_swapping_the_roles_never_promotes_both(seed: int, samples: int, one: float, other: float) -> None:
    labels = labels_of(samples, 4, seed)
    first, second = erring(labels, one, seed), erring(labels, other, seed + 1)
    settings = GateSettings(samples=1, draws=200, class_drop=1.0)

    there, back = (decide(labels, *pair, NAMES, settings) for pair in ((first, second), (second, first)))

    assert not (there.promoted and back.promoted)
    assert (there.won, there.lost) == (back.lost, back.won)


@given(st.integers(0, 400), st.integers(0, 400))
def test_the_exact_test_is_that_of_the_textbook(heads: int, tails: int) -> None:
    of = heads + tails

    expected = binomtest(heads, of, alternative="greater").pvalue if of else 1.0

    assert tail(heads, of) == pytest.approx(expected, rel=1e-9)


def test_the_draws_of_the_difference_scatter_as_drawing_the_samples_does() -> None:
    differs = np.repeat([1, -1, 0], [30, 10, 160])
    taken = np.random.default_rng(0).integers(0, 200, (20_000, 200))

    drawn = difference_draws(30, 10, 200, 20_000, 1)

    slow = differs[taken].mean(1)
    assert drawn.mean() == pytest.approx(slow.mean(), abs=2e-3)
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx(np.quantile(slow, [0.025, 0.975]), abs=6e-3)


def test_a_draw_of_average_precisions_is_that_of_the_samples_drawn_ties_and_all() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random((40, 2)) < 0.3).astype(np.uint8)
    ours, theirs = generator.integers(0, 6, (2, 40, 2)) / 5

    drawn = precision_draws(labels, ours, theirs, 5, 3)

    taken = np.random.default_rng(3).integers(0, 40, (5, 40))
    for row, rows in zip(drawn, taken, strict=True):
        for place in range(2):
            of = [average_precision_score(labels[rows, place], m[rows, place]) for m in (ours, theirs)]
            assert row[place] == pytest.approx(of[0] - of[1])


def test_the_same_answers_give_the_same_decision() -> None:
    labels = labels_of(300)
    pair = erring(labels, 0.2, 1), erring(labels, 0.25, 2)

    assert decide(labels, *pair, NAMES, SETTINGS) == decide(labels, *pair, NAMES, SETTINGS)


def test_what_is_no_answer_is_refused() -> None:
    labels = labels_of(10)
    fine = erring(labels, 0.2, 1)

    for broken in (fine[:9], fine[:, :3], np.full_like(fine, np.nan)):
        with pytest.raises(ValueError, match=r"not of the same samples and classes|no numbers"):
            decide(labels, fine, broken, NAMES, SETTINGS)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"champion": "latest"}, "gate.champion"), ({"samples": 0}, "gate.samples"),
        ({"margin": -0.1}, "gate.margin"), ({"confidence": 1.0}, "gate.confidence"),
        ({"draws": 10}, "gate.draws"), ({"class_drop": 2.0}, "gate.class-drop"),
    ],
)  # fmt: skip
def test_settings_that_would_let_anything_pass_are_refused(wrong: dict[str, Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        GateSettings(**wrong)


def test_the_likeliest_of_several_labels_is_right_where_the_sample_bears_it() -> None:
    labels = np.array([[0, 0, 1], [1, 1, 0]])

    assert right(labels, np.array([[0.1, 0.2, 0.9], [0.5, 0.1, 0.9]])).tolist() == [True, False]
