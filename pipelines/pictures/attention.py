"""Where a classifier looked: which samples and latents stand for all, and the weights that are drawn of them.

Shapes: N latents, M positions of one modality or of all.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perceiver.model import Sample
from perceiver.train_settings import TrainSettings
from pipelines.models.classifier import Classifier
from pipelines.pictures.attention_panels import Panel, panels

Weights = Mapping[str, NDArray[np.float32]]
"""Of each modality, [M] or [N, M]; over all modalities they sum to 1."""

SAMPLES = 4
"""Samples on a sheet."""
SINGLE = 2
"""Latents drawn on their own."""


@dataclass(frozen=True)
class Look:
    """What the model saw of one sample, and where its latents looked."""

    panels: Mapping[str, Panel]
    """What draws each modality."""
    maps: Mapping[str, Weights]
    """Under the heading of their column: weights [M] of each modality."""


def looks(classifier: Classifier, samples: Iterable[Sample], train: TrainSettings) -> list[Look]:
    """A look at each sample, one at a time; all show the latents that were chosen in the first.

    They are chosen in the first cross-attend: in the last one of trained models they are hard to tell apart.
    """
    chosen: Sequence[int] = ()
    found: list[Look] = []
    for sample in samples:
        seen, weights = classifier.attended(sample)
        chosen = chosen or concentrated(np.concatenate(list(weights[0].values()), 1), SINGLE)
        blocks = classifier.model.settings.blocks
        found.append(Look(panels(classifier.model.inputs, seen, train), maps(weights, blocks, chosen)))
    return found


def maps(weights: Sequence[Weights], blocks: int, latents: Sequence[int]) -> dict[str, Weights]:
    """Of the first and of the last cross-attend: the mean over all latents, then `latents` alone."""
    shown = {"the only cross-attend": weights[0]}
    if blocks > 1:
        shown = {"first cross-attend": weights[0], f"last of {blocks} cross-attends": weights[-1]}
    columns: dict[str, Weights] = {}
    for name, one in shown.items():
        columns[f"{name},\nall latents"] = {modality: part.mean(0) for modality, part in one.items()}
        for latent in latents:
            alone = {modality: part[latent].copy() for modality, part in one.items()}  # not a view of all
            columns[f"{name},\nlatent {latent}"] = alone
    return columns


def concentrated(weights: NDArray[np.float32], count: int) -> list[int]:
    """Latents whose weights [N, M] are concentrated, and not all on the same positions.

    The one of the lowest entropy, then of the quarter with the lowest entropy whichever has least in common
    with those chosen before.
    """
    entropy = -(weights * np.log(np.maximum(weights, np.finfo(np.float32).tiny))).sum(1)
    sharpest = entropy.argsort(kind="stable")[: max(count, -(-len(weights) // 4))].tolist()
    chosen: list[int] = []
    shared = dict.fromkeys(sharpest, 0.0)
    while shared and len(chosen) < count:
        chosen.append(min(shared, key=lambda latent: shared[latent]))
        del shared[chosen[-1]]
        for latent in shared:
            common = float(np.minimum(weights[latent], weights[chosen[-1]]).sum())
            shared[latent] = max(shared[latent], common)
    return chosen


def spread(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Rows of `count` samples, evenly over the classes that are there: the same whatever the weights."""
    order = labels.argsort(kind="stable")
    turn = np.empty_like(labels)
    turn[order] = np.arange(len(labels)) - np.searchsorted(labels[order], labels[order])
    rounds = np.lexsort((labels, turn))  # the first sample of every class, then the second of each
    first = int((turn == 0).sum())
    if first <= count:
        return rounds[:count]
    return rounds[np.linspace(0, first - 1, count).round().astype(int)]
