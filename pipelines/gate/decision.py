"""Whether a candidate is better than the champion, from both models' answers on the same test samples.

Labels and probabilities in, a decision with its evidence out; nothing is read or written.
Shapes: n samples, K classes; labels int64 [n], or [n, K] of 0 and 1 where a sample may have several.

One label: the difference of accuracies has a paired bootstrap interval, and McNemar's exact test must agree,
which keeps false promotions at (1 - confidence) / 2 however few samples the models differ on: there the
bootstrap alone is too sure. Several labels: the paired bootstrap over mAP.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.gate.resampling import difference_draws, precision_draws, tail
from pipelines.gate.settings import GateSettings
from pipelines.models.figures import average_precisions

Labels = NDArray[np.integer]
Probabilities = NDArray[np.floating]

SEED = 20210304
"""Of the bootstrap draws: the same answers give the same decision."""
ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True)
class ClassChange:
    """One class under both models."""

    name: str
    samples: int
    """Test samples that bear it."""
    candidate: float
    """Recall, or average precision."""
    champion: float
    p: float
    """How likely it is to fall that far, or further, by chance."""
    fell: bool
    """Whether it fell further than allowed, and further than chance explains."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate says, and why."""

    promoted: bool
    reason: str
    """In words: what speaks against it, or what carries it."""
    metric: str
    """`accuracy`, or `mAP` of several labels."""
    samples: int
    candidate: float
    """The candidate's metric."""
    champion: float
    """The champion's, or that of guessing the most frequent class where there is no champion yet."""
    low: float
    """Bounds of the interval of the difference."""
    high: float
    confidence: float
    p: float | None
    """McNemar's exact test, two-sided; None for several labels."""
    won: int
    """Samples that only the candidate has right; its likeliest class counts."""
    lost: int
    """Samples that only the champion has right."""
    classes: tuple[ClassChange, ...]

    @property
    def difference(self) -> float:
        """By how much the candidate's metric is higher."""
        return self.candidate - self.champion


def decide(
    labels: Labels,
    candidate: Probabilities,
    champion: Probabilities | None,
    names: Sequence[str],
    settings: GateSettings,
) -> Decision:
    """Compare; where there is no champion yet, with guessing the most frequent class.

    Raises:
        ValueError: labels and probabilities are not of the same samples and classes, or are no numbers.
    """
    rival = guess(labels, candidate.shape[1]) if champion is None else champion
    _refuse_other_shapes(labels, candidate, rival)
    evidence = (
        _of_one(labels, candidate, rival, settings)
        if labels.ndim == 1
        else _of_several(labels, candidate, rival, settings)
    )
    changes = _changes(evidence, names, settings)
    than = "that of guessing the most frequent class" if champion is None else "the champion's"
    against = _against(evidence, changes if champion is not None else (), than, settings)
    for_it = (
        f"{evidence.metric} is {evidence.difference:.4f} higher than {than} "
        f"({_interval(evidence, settings)}, {len(labels):,} samples)"
    )
    return Decision(
        promoted=not against, reason="; ".join(against) or for_it, metric=evidence.metric,
        samples=len(labels), candidate=evidence.candidate, champion=evidence.champion, low=evidence.low,
        high=evidence.high, confidence=settings.confidence, p=evidence.p, won=evidence.won,
        lost=evidence.lost, classes=changes,
    )  # fmt: skip


def guess(labels: Labels, classes: int) -> Probabilities:
    """[n, K]: always the most frequent class, with how frequent each class is as its probability."""
    share = np.bincount(labels, minlength=classes) if labels.ndim == 1 else labels.sum(0)
    return np.tile(share / max(len(labels), 1), (len(labels), 1))


def right(labels: Labels, probabilities: Probabilities) -> NDArray[np.bool_]:
    """[n]: whether the likeliest class is the sample's, or one of the sample's."""
    best = probabilities.argmax(1)
    return best == labels if labels.ndim == 1 else labels[np.arange(len(labels)), best].astype(bool)


@dataclass(frozen=True, kw_only=True)
class _Evidence:
    """The comparison, before it is judged."""

    metric: str
    samples: int
    candidate: float
    champion: float
    low: float
    high: float
    p: float | None
    won: int
    lost: int
    counts: NDArray[np.int64]
    """[K]: samples that bear each class."""
    of_candidate: NDArray[np.float64]
    """[K]: recall or average precision; nan without a sample."""
    of_champion: NDArray[np.float64]
    fall_p: NDArray[np.float64]
    """[K]: how likely chance alone is to take as much from the class."""

    @property
    def difference(self) -> float:
        return self.candidate - self.champion


def _of_one(
    labels: Labels, candidate: Probabilities, champion: Probabilities, settings: GateSettings
) -> _Evidence:
    ours, theirs = right(labels, candidate), right(labels, champion)
    classes = candidate.shape[1]
    counts = np.bincount(labels, minlength=classes)
    won, lost = (np.bincount(labels[only], minlength=classes) for only in (ours & ~theirs, theirs & ~ours))
    low, high = _bounds(difference_draws(won.sum(), lost.sum(), len(labels), settings.draws, SEED), settings)
    with np.errstate(invalid="ignore"):
        recalls = [np.bincount(labels[hit], minlength=classes) / counts for hit in (ours, theirs)]
    return _Evidence(
        metric="accuracy", samples=len(labels), candidate=float(ours.mean()), champion=float(theirs.mean()),
        low=low, high=high, won=int(won.sum()), lost=int(lost.sum()),
        p=min(1.0, 2 * tail(int(max(won.sum(), lost.sum())), int(won.sum() + lost.sum()))),
        counts=counts, of_candidate=recalls[0], of_champion=recalls[1],
        fall_p=np.array([tail(int(b), int(a + b)) for a, b in zip(won, lost, strict=True)]),
    )  # fmt: skip


def _of_several(
    labels: Labels, candidate: Probabilities, champion: Probabilities, settings: GateSettings
) -> _Evidence:
    ours, theirs = right(labels, candidate), right(labels, champion)
    precisions = [average_precisions(labels, one) for one in (candidate, champion)]
    there = labels.any(0)
    draws = precision_draws(labels, candidate, champion, settings.draws, SEED)
    low, high = _bounds(np.nanmean(draws[:, there], 1) if there.any() else np.zeros(1), settings)
    kept = (np.nan_to_num(draws, nan=np.inf) >= 0).sum(0)
    return _Evidence(
        metric="mAP", samples=len(labels), low=low, high=high, p=None, won=int((ours & ~theirs).sum()),
        candidate=float(precisions[0][there].mean()) if there.any() else 0.0,
        champion=float(precisions[1][there].mean()) if there.any() else 0.0,
        lost=int((theirs & ~ours).sum()), counts=labels.sum(0, dtype=np.int64),
        of_candidate=precisions[0], of_champion=precisions[1], fall_p=(kept + 1) / (len(draws) + 1),
    )  # fmt: skip


def _bounds(draws: NDArray[np.float64], settings: GateSettings) -> tuple[float, float]:
    """The interval, rounded outwards to draws that were made."""
    out = (1 - settings.confidence) / 2
    low, high = np.quantile(draws, out, method="lower"), np.quantile(draws, 1 - out, method="higher")
    return float(low), float(high)


def _changes(evidence: _Evidence, names: Sequence[str], settings: GateSettings) -> tuple[ClassChange, ...]:
    there = np.flatnonzero(evidence.counts)
    # Of a thousand classes some fall far by chance: the level is such that, however many there are, chance
    # fells half a class in a comparison.
    level = min(1 - settings.confidence, 0.5 / max(len(there), 1))
    changes: list[ClassChange] = []
    for place in there.tolist():
        now, before = float(evidence.of_candidate[place]), float(evidence.of_champion[place])
        p = float(evidence.fall_p[place])
        fell = before - now > settings.class_drop + ROUNDING and p <= level
        changes.append(
            ClassChange(
                name=names[place], samples=int(evidence.counts[place]), candidate=now, champion=before,
                p=p, fell=fell,
            )
        )  # fmt: skip
    return tuple(changes)


def _against(
    evidence: _Evidence, changes: Sequence[ClassChange], than: str, settings: GateSettings
) -> list[str]:
    """What speaks against promoting, in words; `than` is the rival's."""
    said: list[str] = []
    if evidence.samples < settings.samples:
        said.append(f"{evidence.samples:,} test samples are fewer than gate.samples ({settings.samples:,})")
    unsure = evidence.p is not None and evidence.p > 1 - settings.confidence + ROUNDING
    if evidence.low <= settings.margin or evidence.difference <= 0 or unsure:
        by = f" by more than gate.margin ({settings.margin:g})" if settings.margin else ""
        p = "" if evidence.p is None else f", McNemar p {evidence.p:.3g}"
        said.append(
            f"{evidence.metric} is not shown to be higher than {than}{by}: "
            f"difference {evidence.difference:+.4f} ({_interval(evidence, settings)}{p})"
        )
    fallen = sorted((one for one in changes if one.fell), key=lambda one: one.candidate - one.champion)
    said += [
        f"{one.name} fell from {one.champion:.3f} to {one.candidate:.3f} ({one.samples:,} samples), which is "
        f"more than gate.class-drop ({settings.class_drop:g})"
        for one in fallen[:3]
    ]
    return said + ([f"{len(fallen) - 3} more classes fell"] if len(fallen) > 3 else [])


def _interval(evidence: _Evidence, settings: GateSettings) -> str:
    return f"{100 * settings.confidence:g} % interval {evidence.low:+.4f} to {evidence.high:+.4f}"


def _refuse_other_shapes(labels: Labels, candidate: Probabilities, champion: Probabilities) -> None:
    if not len(labels):
        raise ValueError("there are no test samples to compare on")
    shape = (len(labels), candidate.shape[1])
    if {candidate.shape, champion.shape, labels.shape if labels.ndim == 2 else shape} != {shape}:
        raise ValueError(
            f"labels {labels.shape}, candidate {candidate.shape} and champion {champion.shape} are not of "
            f"the same samples and classes"
        )
    if not (np.isfinite(candidate).all() and np.isfinite(champion).all()):
        raise ValueError("some probabilities are no numbers")
