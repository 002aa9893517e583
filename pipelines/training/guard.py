"""Whether a step is taken: what all ranks agree on before the weights change."""

import math
from dataclasses import dataclass
from typing import Literal

from cluster.mistake import UserError
from perceiver.train_settings import TrainSettings
from pipelines.training.state import Progress

Verdict = Literal["take", "skip", "rescale", "roll back"]


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The bounds of a healthy step."""

    settings: TrainSettings
    guessing: float
    """Mean loss of one who guesses, in nats."""

    def verdict(self, progress: Progress, loss: float, norm: float, moving_scale: bool) -> Verdict:
        """What to do with a step of this mean loss over the global batch and this gradient norm.

        Raises:
            UserError: the weights went back as often as they may, and it did not help.
        """
        if math.isfinite(loss) and not self.exploded(loss):
            if math.isfinite(norm):
                return "take"
            if moving_scale:
                return "rescale"  # float16 looks for its scale this way
        if progress.streak + 1 < self.settings.patience:
            return "skip"
        if progress.rollbacks == self.settings.rollbacks:
            raise UserError(self.report(progress, loss, norm))
        return "roll back"

    def exploded(self, loss: float) -> bool:
        """Whether guessing would be better by far."""
        return bool(self.settings.explosion) and loss > self.settings.explosion * self.guessing

    def report(self, progress: Progress, loss: float, norm: float) -> str:
        """Why the run stops, with the numbers and the ways out."""
        what = (
            f"loss is {loss:g} (guessing's is {self.guessing:.3g})"
            if self.exploded(loss) or not math.isfinite(loss)
            else f"gradient's norm is {norm:g}"
        )
        return (
            f"The {what} at step {progress.step + 1}, the {progress.streak + 1}. such step in a row; "
            f"{progress.skipped + 1} steps were not taken in all, and the weights went back to a checkpoint "
            f"{progress.rollbacks} times. Lower train.rate, lengthen train.warmup or set train.clip, in "
            f"another --workspace; the last good checkpoint is kept."
        )
