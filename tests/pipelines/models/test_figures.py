"""Figures equal to scikit-learn's, and to their definitions, whatever the labels."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from perceiver.loss import hits, sigmoid_loss_sum
from pipelines.models.figures import Confusion, average_precisions, figures, per_class

CLASSES = 4
LABELS = st.lists(
    st.tuples(st.integers(0, CLASSES - 1), st.integers(0, CLASSES - 1)), min_size=1, max_size=40
)


def sure(predicted: np.ndarray) -> np.ndarray:
    """Probabilities that put 0.7 on the predicted class."""
    probabilities = np.full((len(predicted), CLASSES), 0.1, np.float32)
    probabilities[np.arange(len(predicted)), predicted] = 0.7
    return probabilities


@given(LABELS)
def test_the_figures_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    true, predicted = (np.array(side) for side in zip(*pairs, strict=True))

    found = figures(true, sure(predicted), "test")
    confusion = Confusion.of(true, sure(predicted))

    assert (confusion.counts == oracle.confusion_matrix(true, predicted, labels=range(CLASSES))).all()
    assert found["test/accuracy"] == pytest.approx(oracle.accuracy_score(true, predicted))
    assert found["test/loss"] == pytest.approx(
        oracle.log_loss(true, sure(predicted), labels=range(CLASSES)), rel=1e-5
    )
    there = sorted(set(true.tolist()))
    recalls = oracle.recall_score(true, predicted, labels=there, average=None, zero_division=0)
    assert found["test/recall"] == pytest.approx(recalls.mean())


def test_each_class_says_how_many_samples_stand_behind_its_figures() -> None:
    confusion = Confusion(np.array([[3, 1], [0, 0]]))

    assert confusion.per_class(("a", "b")) == {
        "a": {"precision": 1.0, "recall": 0.75, "samples": 4},
        "b": {"precision": 0.0, "recall": 0.0, "samples": 0},
    }


def several(seed: int, samples: int = 30, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = (random.random((samples, classes)) < 0.3).astype(np.uint8)
    scores = 0.3 * labels + 0.7 * random.random((samples, classes))
    ranks = scores.ravel().argsort().argsort().reshape(scores.shape)  # no two are equal
    return labels, ((ranks + 0.5) / ranks.size).astype(np.float32)


def written_out(labels: np.ndarray, scores: np.ndarray) -> float:
    """Average precision: at each sample of the class, the share of right ones down to it."""
    order = scores.argsort()[::-1]
    right = labels[order].astype(bool)
    return float((right.cumsum() / np.arange(1, len(right) + 1))[right].mean())


@given(st.integers(0, 1000))
def test_mean_average_precision_is_over_the_samples_of_each_class(seed: int) -> None:
    labels, probabilities = several(seed)
    there = [place for place in range(CLASSES) if labels[:, place].any()]

    found = figures(labels, probabilities, "val")

    by_class = [written_out(labels[:, place], probabilities[:, place]) for place in there]
    assert list(found) == ["val/mAP", "val/accuracy", "val/loss"]
    assert found["val/mAP"] == pytest.approx(np.mean(by_class))


def test_transposed_scores_are_caught_also_where_the_shapes_agree() -> None:
    """Appendix F: with as many samples as classes, no shape tells that they lie the wrong way."""
    labels, probabilities = several(1, 12, 12)

    right = figures(labels, probabilities, "test")["test/mAP"]
    wrong = figures(labels.T, probabilities.T, "test")["test/mAP"]
    mixed = figures(labels, probabilities.T, "test")["test/mAP"]

    by_class = [written_out(labels[:, k], probabilities[:, k]) for k in range(12) if labels[:, k].any()]
    assert right == pytest.approx(np.mean(by_class))
    assert abs(right - wrong) > 0.01
    assert mixed < right - 0.2
    labels, probabilities = several(1, 12, 5)
    with pytest.raises(ValueError, match=r"labels \(12, 5\) and probabilities \(5, 12\) are not both"):
        average_precisions(labels, probabilities.T)


def test_the_loss_of_several_labels_is_that_of_training() -> None:
    labels, probabilities = several(2)
    logits = torch.logit(torch.from_numpy(probabilities))

    found = figures(labels, probabilities, "test")

    wanted = sigmoid_loss_sum(logits, torch.from_numpy(labels)).item() / len(labels)
    assert found["test/loss"] == pytest.approx(wanted, rel=1e-4)
    assert found["test/accuracy"] == hits(logits, torch.from_numpy(labels)).item() / len(labels)


def test_a_class_without_a_sample_counts_for_nothing_and_says_so() -> None:
    labels = np.array([[1, 0, 0], [1, 1, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.6, 0.8], [0.8, 0.5, 0.1]], np.float32)

    assert figures(labels, probabilities, "test")["test/mAP"] == pytest.approx((1 + 0.5) / 2)
    assert per_class(labels, probabilities, "abc") == {
        "a": {"average_precision": 1.0, "samples": 2},
        "b": {"average_precision": 0.5, "samples": 1},
        "c": {"average_precision": 0.0, "samples": 0},
    }
    assert figures(labels[:, 2:], probabilities[:, 2:], "test")["test/mAP"] == 0.0


def test_certain_answers_that_are_wrong_cost_much_and_not_infinitely_much() -> None:
    labels, wrong = np.array([[1, 0]], np.uint8), np.array([[0.0, 1.0]], np.float32)

    assert 100 < figures(labels, wrong, "test")["test/loss"] < 1000


def test_of_one_label_the_figures_of_a_class_are_its_precision_and_recall() -> None:
    labels = np.array([0, 0, 1])

    found = per_class(labels, sure(np.array([0, 1, 1])), "abcd")

    assert found["a"] == {"precision": 1.0, "recall": 0.5, "samples": 2}
