"""Figures of a split from labels and probabilities: of one label a sample, or of several.

Shapes: n samples, K classes; labels int64 [n], or [n, K] of 0 and 1 where a sample may have several.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[Any]
Probabilities = NDArray[np.float32]
PerClass = dict[str, dict[str, float]]


def figures(labels: Labels, probabilities: Probabilities, split: str) -> dict[str, float]:
    """The figure that counts first, each over all samples."""
    found = metrics(labels, probabilities) if labels.ndim == 1 else several(labels, probabilities)
    return {f"{split}/{name}": value for name, value in found.items()}


def per_class(labels: Labels, probabilities: Probabilities, names: Sequence[str]) -> PerClass:
    """The figures of each class, with the number of samples behind them."""
    if labels.ndim == 1:
        return Confusion.of(labels, probabilities).per_class(names)
    found = average_precisions(labels, probabilities)
    return {
        name: {"average_precision": float(np.nan_to_num(value)), "samples": int(count)}
        for name, value, count in zip(names, found, labels.sum(0, dtype=np.int64), strict=True)
    }


def metrics(labels: NDArray[np.int64], probabilities: Probabilities) -> Mapping[str, float]:
    """Accuracy, mean recall and cross entropy (nats) of one label a sample."""
    own = probabilities[np.arange(len(labels)), labels]
    return {
        "accuracy": float((probabilities.argmax(1) == labels).mean()),
        "recall": Confusion.of(labels, probabilities).recall(),
        "loss": float(-_log(own).mean()),
    }


def several(labels: Labels, probabilities: Probabilities) -> Mapping[str, float]:
    """mAP, the mean over the classes that occur; how often the highest is right; sigmoid cross entropy.

    The cross entropy (nats) is summed over the classes, as in training.
    """
    precisions = average_precisions(labels, probabilities)
    there = ~np.isnan(precisions)
    wanted = labels.astype(bool)
    loss = -_log(np.where(wanted, probabilities, 1 - probabilities)).sum(1)
    return {
        "mAP": float(precisions[there].mean()) if there.any() else 0.0,
        "accuracy": float(wanted[np.arange(len(labels)), probabilities.argmax(1)].mean()),
        "loss": float(loss.mean()),
    }


def average_precisions(labels: Labels, probabilities: Probabilities) -> NDArray[np.float64]:
    """[K], nan for a class without a sample: over the samples of each class, whatever the others hold.

    The paper's scores once went in transposed (appendix F).

    Raises:
        ValueError: labels and probabilities are not of the same samples and classes.
    """
    from sklearn.metrics import average_precision_score

    if labels.shape != probabilities.shape:
        raise ValueError(
            f"labels {labels.shape} and probabilities {probabilities.shape} are not both [samples, classes]"
        )
    there = labels.any(0)
    found = np.full(labels.shape[1], np.nan)
    for place in np.flatnonzero(there):
        found[place] = average_precision_score(labels[:, place], probabilities[:, place])
    return found


def _log(values: Probabilities) -> NDArray[np.float64]:
    return np.log(np.maximum(values.astype(np.float64), np.finfo(np.float32).tiny))


@dataclass(frozen=True)
class Confusion:
    """Counts [true class, predicted class]."""

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64], probabilities: Probabilities) -> "Confusion":
        """Count every sample once."""
        classes = probabilities.shape[1]
        counts = np.zeros((classes, classes), np.int64)
        np.add.at(counts, (labels, probabilities.argmax(1)), 1)
        return cls(counts)

    def per_class(self, names: Sequence[str]) -> PerClass:
        """Precision, recall and samples of each class; 0 where nothing was predicted or there."""
        right, true, predicted = self.counts.diagonal(), self.counts.sum(1), self.counts.sum(0)
        return {
            name: {
                "precision": float(right[row] / max(predicted[row], 1)),
                "recall": float(right[row] / max(true[row], 1)),
                "samples": int(true[row]),
            }
            for row, name in enumerate(names)
        }

    def recall(self) -> float:
        """Mean recall over the classes that have samples: accuracy as if all were equally frequent."""
        there = self.counts.sum(1) > 0
        return float((self.counts.diagonal()[there] / self.counts.sum(1)[there]).mean())
