"""What chance alone does to a difference between two models that answered the same samples.

Shapes: n samples, K classes, R draws; each draw takes n samples with replacement, the same for both models.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

AT_ONCE = 2**22
"""Weights in memory at a time, a few bytes each."""


def tail(at_least: int, of: int) -> float:
    """The probability of so many heads, or more, in `of` throws of a fair coin."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, of + 1)))])
    heads = np.arange(at_least, of + 1)
    return float(min(1.0, np.exp(logs[of] - logs[heads] - logs[of - heads] - of * np.log(2)).sum()))


def difference_draws(won: int, lost: int, samples: int, draws: int, seed: int) -> NDArray[np.float64]:
    """[R]: the difference of accuracies. Only how many samples differ, and in whose favour, matters to it."""
    shares = np.array([won, lost, samples - won - lost]) / samples
    taken = np.random.default_rng(seed).multinomial(samples, shares, draws)
    return (taken[:, 0] - taken[:, 1]) / samples


def precision_draws(
    labels: NDArray[np.integer],
    candidate: NDArray[np.floating],
    champion: NDArray[np.floating],
    draws: int,
    seed: int,
) -> NDArray[np.float64]:
    """[R, K]: the difference of each class's average precision; nan where a draw holds none of the class."""
    generator, (samples, classes) = np.random.default_rng(seed), labels.shape
    ranked = [
        [_Ranked.of(labels[:, place], scores[:, place]) for place in range(classes)]
        for scores in (candidate, champion)
    ]
    found = np.empty((draws, classes))
    step = max(1, AT_ONCE // samples)
    for begin in range(0, draws, step):
        rows = found[begin : begin + step]
        taken = generator.integers(0, samples, (len(rows), samples))
        weights = np.stack([np.bincount(one, minlength=samples) for one in taken]).astype(np.int32)
        for place in range(classes):
            ours, theirs = (of_model[place].average_precision(weights) for of_model in ranked)
            rows[:, place] = ours - theirs
    return found


@dataclass(frozen=True)
class _Ranked:
    """The samples of one class in the order of one model's scores."""

    order: NDArray[np.int32]
    """[n]: samples, the highest score first."""
    positives: NDArray[np.int32]
    """[P]: those that bear the class, in that order."""
    behind: NDArray[np.int64]
    """[P]: the place in `order` of the last sample with the same score: ties are ranked together."""
    alike: NDArray[np.int64]
    """[P]: the same among the positives."""

    @classmethod
    def of(cls, labels: NDArray[np.integer], scores: NDArray[np.floating]) -> Self:
        order = np.argsort(-scores, kind="stable").astype(np.int32)
        places = np.flatnonzero(labels[order])
        behind = np.searchsorted(-scores[order], -scores[order][places], side="right") - 1
        return cls(order, order[places], behind, np.searchsorted(places, behind, side="right") - 1)

    def average_precision(self, weights: NDArray[np.int32]) -> NDArray[np.float64]:
        """[R] for weights [R, n]: how often each sample was taken."""
        through = np.cumsum(weights[:, self.order], axis=1, dtype=np.int32)[:, self.behind]
        own = weights[:, self.positives]
        hits = np.cumsum(own, axis=1, dtype=np.int32)[:, self.alike]
        with np.errstate(invalid="ignore"):
            return (own * hits / np.maximum(through, 1)).sum(1) / own.sum(1)
