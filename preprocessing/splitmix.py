"""Random bits that are a pure function of a number, the same on every machine and for all time.

NumPy promises no stable streams across versions; these eight lines do.
"""

import numpy as np
from numpy.typing import NDArray


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele et al. 2014), element by element."""
    with np.errstate(over="ignore"):
        mixed = values + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))


def key(*numbers: int) -> np.uint64:
    """One 64-bit key from several numbers, each of which matters in its place."""
    state = np.zeros(1, np.uint64)
    for number in numbers:
        state = splitmix64(state ^ np.uint64(number % 2**64))
    return np.uint64(state[0])


def uniform(count: int, seed: int, stream: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1), another sequence for every stream."""
    bits = splitmix64(splitmix64(np.arange(count, dtype=np.uint64)) ^ key(seed, stream))
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permutation(count: int, seed: int, stream: int) -> NDArray[np.int64]:
    """The numbers below `count` in random order."""
    bits = splitmix64(np.arange(count, dtype=np.uint64) ^ key(seed, stream))
    return np.argsort(bits, kind="stable").astype(np.int64, copy=False)
