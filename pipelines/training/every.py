"""What happens every so many steps of a training."""

import math
from dataclasses import dataclass

from pipelines.settings import RunSettings

POINTS = 200
"""Points of a training curve, about as many as a screen resolves."""


@dataclass(frozen=True)
class Every:
    """After how many steps something happens."""

    log: int
    evaluate: int
    save: int

    @classmethod
    def of(cls, settings: RunSettings, samples: int, total: int) -> "Every":
        """What the settings leave open happens once an epoch, and the curve gets its points."""
        epoch = math.ceil(samples / settings.train.batch)
        return cls(
            log=max(1, total // POINTS),
            evaluate=settings.train.evaluate_every or epoch,
            save=settings.train.save_every or epoch,
        )


def due(taken: int, every: int, total: int) -> bool:
    """Whether what happens every so many steps happens after this one; always after the last."""
    return taken % every == 0 or taken == total
