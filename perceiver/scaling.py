"""The factor that lifts a float16 loss: small gradients would become 0 (Micikevicius et al. 2018, Sec. 3.2).

float32 and bfloat16 need none: their factor stays 1. Growth and backing off are those of torch's GradScaler;
here they are a value that a checkpoint can hold and that the step itself moves on.
"""

from dataclasses import dataclass, replace

from perceiver.train_settings import Precision

FIRST = 65_536.0
GROWS_AFTER = 2_000
"""Steps without an overflow after which the factor doubles."""


@dataclass(frozen=True, kw_only=True)
class LossScale:
    """What the loss is multiplied by before the backward pass."""

    factor: float = 1.0
    moves: bool = False
    """Whether the factor follows the overflows."""
    steps: int = 0
    """Steps without an overflow since the factor changed."""

    @classmethod
    def of(cls, precision: Precision) -> "LossScale":
        """The factor that a run of this precision begins with."""
        return cls(factor=FIRST, moves=True) if precision == "float16" else cls()

    def after(self, finite: bool) -> "LossScale":
        """The factor after a step whose gradients were finite, or not."""
        if not self.moves:
            return self
        if not finite:
            return replace(self, factor=max(self.factor / 2, 1.0), steps=0)
        if self.steps + 1 == GROWS_AFTER:
            return replace(self, factor=self.factor * 2, steps=0)
        return replace(self, steps=self.steps + 1)
