"""Labels as captions, of one class a sample (int64 [n]) or of several ([n, classes] of 0 and 1)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAMED = 3
"""Classes of one sample that are named."""


def first_labels(labels: NDArray[Any]) -> NDArray[np.int64]:
    """One class of each sample: of several, the first."""
    return labels if labels.ndim == 1 else labels.argmax(1)


def caption(label: Any, classes: Sequence[str]) -> str:
    """The name of a class, or the names of several: the first few of many."""
    if np.ndim(label) == 0:
        return classes[int(label)]
    names = [classes[int(place)] for place in np.flatnonzero(label)]
    more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
    return ", ".join([*names[:NAMED], *more]) or "none"


def bears(label: Any, place: int) -> bool:
    """Whether a class is the sample's, or one of its."""
    return bool(label == place if np.ndim(label) == 0 else label[place])
