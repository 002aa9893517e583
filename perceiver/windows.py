"""Clips of any length -> windows of one: cut from long ones, short ones placed on zeros that are masked.

Shapes: B samples, L samples or frames of the window.
"""

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from perceiver.draws import integers
from perceiver.segment import Arrays, Raw, Seeds


def windows(arrays: Arrays, size: int, seeds: Seeds | None) -> Raw:
    """Cut or placed at random with seeds (the paper's time shift), else in the middle."""
    slack = torch.tensor([size - len(array) for array in arrays])
    drawn = slack.abs() // 2 if seeds is None else integers(seeds, "window", slack.abs() + 1)
    first = torch.where(slack > 0, drawn, 0)
    spans = torch.stack([first, (first + size - slack.clamp(min=0))], 1)
    values = np.zeros((len(arrays), size, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array, (start, end), cut in zip(values, arrays, spans.tolist(), drawn.tolist(), strict=True):
        skipped = cut if len(array) > size else 0
        row[start:end] = array[skipped : skipped + size]
    return Raw(torch.from_numpy(values), spans)


def real(spans: Int64[Tensor, "B 2"] | None, size: int, step: int = 1) -> Bool[Tensor, "B L"]:
    """Which steps of the window hold anything real."""
    assert spans is not None, "made by `windows`"
    starts = torch.arange(0, size, step, device=spans.device)
    return (starts + step > spans[:, :1]) & (starts < spans[:, 1:])
