"""What a candidate has to show before it becomes champion."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """The gate between `candidate` and `champion`; both answer the same test samples."""

    champion: str = "champion"
    """Alias of the model version in use, which a candidate has to beat."""
    automatic: bool = True
    """Whether a candidate that passes becomes champion at once; False: `perceiver promote` does it."""
    samples: int = 100
    """Test samples below which nothing is promoted."""
    margin: float = 0.0
    """By how much the metric (accuracy, or mAP of several labels; 0 to 1) has to rise: the lower bound of the
    difference's interval has to be above it."""
    confidence: float = 0.95
    """Share of the interval; a candidate that is no better passes with (1 - confidence) / 2 at most."""
    class_drop: float = 0.05
    """By how much the recall (or average precision) of a class may fall, 0 to 1. Of few samples more may be
    chance, which is refused only where chance would rarely do it."""
    draws: int = 2000
    """Bootstrap draws behind the interval."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.champion) or re.fullmatch(
            r"v\d+|latest", self.champion, re.IGNORECASE
        ):
            raise ValueError(
                f"gate.champion is {self.champion!r}: the registry takes letters, digits, _ and -, "
                f"and neither `latest` nor v and a number"
            )
        if self.samples < 1:
            raise ValueError(f"gate.samples ({self.samples}) must be at least 1")
        if not 0 <= self.margin < 1 or not 0 <= self.class_drop <= 1:
            raise ValueError(
                f"gate.margin ({self.margin}) and gate.class-drop ({self.class_drop}) are shares from 0 to 1"
            )
        if not 0.5 <= self.confidence < 1:
            raise ValueError(f"gate.confidence ({self.confidence}) must be from 0.5 to below 1")
        if self.draws < 200:
            raise ValueError(f"gate.draws ({self.draws}) must be at least 200: fewer show no interval")
