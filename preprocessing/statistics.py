"""Sums over channels as whole numbers: exact, so that they add up the same in any order."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Sums = dict[str, dict[str, Any]]
"""By modality: `count` of values per channel, their `sum` and `sum_of_squares` per channel."""


FOLD = 256


def add_array(sums: Sums, modality: str, array: NDArray[Any], sign: int = 1) -> None:
    """Add an array whose last axis is its channels, or take it away; of floats there are no exact sums."""
    if array.dtype.kind not in "iu":
        return
    values = array.reshape(-1, array.shape[-1])
    squares = np.square(values, dtype=np.int32)
    add(sums, {modality: {
        "count": sign * len(values),
        "sum": (sign * total(values)).tolist(),
        "sum_of_squares": (sign * total(squares)).tolist(),
    }})  # fmt: skip


def total(values: NDArray[Any]) -> NDArray[np.int64]:
    """The sum over the rows, folded into long ones: twenty times as fast as over rows of three numbers."""
    count, channels = values.shape
    cut = count - count % FOLD
    folded = values[:cut].reshape(-1, FOLD * channels).sum(axis=0, dtype=np.int64)
    return folded.reshape(FOLD, channels).sum(axis=0) + values[cut:].sum(axis=0, dtype=np.int64)


def add(sums: Sums, more: Sums) -> None:
    """Add the sums of another part of the data."""
    for modality, part in more.items():
        whole = sums.setdefault(modality, {"count": 0, "sum": [], "sum_of_squares": []})
        whole["count"] += part["count"]
        for name in ("sum", "sum_of_squares"):
            old = whole[name] or [0] * len(part[name])
            whole[name] = [a + b for a, b in zip(old, part[name], strict=True)]
