"""Two models' answers on the same samples, in one order of classes.

Shapes: n samples, K classes of the shards, U classes that either model knows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

STORED: Mapping[str, Sequence[str]] = {
    "image": ("height", "width"),
    "audio": ("rate", "channels"),
    "mesh": ("channels",),
    "video": ("height", "width"),
}
"""What the shards decide of each modality: a model that was built for another value cannot read them."""


@dataclass(frozen=True)
class Described:
    """What a model says of itself, as it stands beside its weights."""

    classes: tuple[str, ...]
    labels: str
    """`one` or `several` a sample."""
    inputs: Mapping[str, Mapping[str, Any]]
    """By modality."""

    @classmethod
    def read(cls, path: Path) -> "Described":
        """From the description that `Classifier.load` reads."""
        made = json.loads(path.read_bytes())
        return cls(tuple(made["classes"]), made["model"].get("labels", "one"), made["model"]["inputs"])


def misfit(champion: Described, candidate: Described) -> str:
    """Why the champion cannot answer what the candidate was evaluated on; empty where it can."""
    if absent := [name for name in champion.inputs if name not in candidate.inputs]:
        return f"it reads {' and '.join(absent)}, which these shards do not hold"
    if champion.labels != candidate.labels:
        return f"it gives {champion.labels} of the classes a sample, the candidate {candidate.labels}"
    for modality, facts in champion.inputs.items():
        for fact in STORED[modality]:
            there, here = facts[fact], candidate.inputs[modality][fact]
            if there != here:
                return f"it reads {modality} of {fact} {there}, these shards hold {here}"
    return ""


def all_classes(shards: Sequence[str], champion: Sequence[str]) -> tuple[str, ...]:
    """[U]: those of the shards, then those that only the champion knows: to choose one of these is wrong."""
    return (*shards, *(name for name in champion if name not in shards))


def aligned(
    probabilities: NDArray[np.float32], classes: Sequence[str], union: Sequence[str]
) -> NDArray[np.float32]:
    """[n, U]: each class in its place; one that the model does not know gets 0."""
    found = np.zeros((len(probabilities), len(union)), np.float32)
    found[:, [union.index(name) for name in classes]] = probabilities
    return found


def widened(labels: NDArray[Any], union: Sequence[str]) -> NDArray[Any]:
    """Labels of the shards' classes as labels of all: [n] stays as it is, for those come first."""
    if labels.ndim == 1:
        return labels
    return np.pad(labels, ((0, 0), (0, len(union) - labels.shape[1])))
