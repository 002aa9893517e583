"""Which samples the batch of a step holds: a pure function of the step; nothing needs to be remembered.

Epoch e is a permutation of all samples; the stream is one epoch behind the other; step s takes the positions
[s * batch, (s + 1) * batch) of the stream. A batch may straddle two epochs; none is dropped or padded.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from preprocessing.splitmix import permutation


def batch(step: int, *, samples: int, batch: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows of the step's global batch, and the epoch each of them belongs to."""
    if samples < 1 or batch < 1 or step < 0:
        raise ValueError(f"step {step}, {samples} samples and batch {batch} give no batch")
    positions = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    epochs = positions // samples
    rows = np.empty(batch, np.int64)
    for epoch in range(int(epochs[0]), int(epochs[-1]) + 1):
        here = epochs == epoch
        rows[here] = epoch_order(samples, seed, epoch)[positions[here] % samples]
    return rows, epochs


# A step asks for one epoch, or two where it straddles; sorting 10 M samples takes seconds.
@lru_cache(maxsize=4)
def epoch_order(samples: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """The order of one epoch: row numbers, each once."""
    rows = permutation(samples, seed, epoch)
    rows.flags.writeable = False
    return rows
