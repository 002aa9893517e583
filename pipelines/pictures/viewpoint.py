"""Points in space as the eye sees them from a little above."""

import numpy as np
from numpy.typing import NDArray


def seen_from_the_side(points: NDArray[np.float32], up: int) -> NDArray[np.float32]:
    """[M, 3]: to the right, up and towards the eye; within the unit circle."""
    turn, rise = np.deg2rad(35), np.deg2rad(20)
    first, second, upright = points[:, (up + 1) % 3], points[:, (up + 2) % 3], points[:, up]
    right = second * np.cos(turn) - first * np.sin(turn)
    near = first * np.cos(turn) + second * np.sin(turn)
    placed = np.stack(
        [right, upright * np.cos(rise) - near * np.sin(rise), near * np.cos(rise) + upright * np.sin(rise)], 1
    )
    placed = placed - (placed.max(0) + placed.min(0)) / 2
    return placed / max(float(np.linalg.norm(placed[:, :2], axis=1).max()), 1e-6)
