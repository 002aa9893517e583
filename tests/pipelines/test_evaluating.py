"""Figures equal to scikit-learn's, whatever the labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as oracle

from pipelines.evaluating import Confusion, metrics

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

    found = metrics(true, sure(predicted), "test")
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
