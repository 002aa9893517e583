"""The learning rate as a pure function of the step."""

import math

from perceiver.train_settings import TrainSettings


def rate_factor(settings: TrainSettings, step: int, total: int) -> float:
    """What the peak rate is multiplied by at step 0 .. total - 1."""
    share = step / total
    if (step + 1) / total < settings.warmup:
        return (step + 1) / total / settings.warmup
    match settings.schedule:
        case "cosine":
            after = (share - settings.warmup) / max(1 / total, 1 - settings.warmup)
            return 0.5 * (1 + math.cos(math.pi * min(max(after, 0.0), 1.0)))
        case "step":
            return settings.decay ** sum(share >= milestone for milestone in settings.milestones)
        case "constant":
            return 1.0
