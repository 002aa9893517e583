"""How far a job is, and what it came to, read from the lines that it says."""

import json
import re
from dataclasses import dataclass
from typing import Any

from pipelines.stages import NAMES

_LINE = re.compile(rf"^({'|'.join(NAMES)}): (.+)$")
_COUNT = re.compile(r"^([\d,]+) of ([\d,]+) samples\b")


@dataclass(frozen=True)
class Standing:
    """Where a job is."""

    stage: str = ""
    """The stage that spoke last; empty where none has."""
    done: int = 0
    """Samples that the stage is through with."""
    total: int = 0
    """Samples that it will go through; 0 where it has not said."""
    words: str = ""
    """What it said last."""

    def __str__(self) -> str:
        if not self.stage:
            return "-"
        if not self.total:
            return self.stage
        return f"{self.stage} {self.done:,} of {self.total:,} ({self.done / self.total:.0%})"


def standing(log: str) -> Standing:
    """What the log's last words of a stage tell."""
    stage, words, done, total = "", "", 0, 0
    for line in log.splitlines():
        if not (found := _LINE.match(line)):
            continue
        if found[1] != stage:
            stage, done, total = found[1], 0, 0
        words = found[2]
        if count := _COUNT.match(words):
            done, total = (int(number.replace(",", "")) for number in count.groups())
    return Standing(stage, done, total, words)


def answered(log: str) -> dict[str, Any] | None:
    """The object that `perceiver run --json` has printed at its end; None where it was not reached."""
    for line in reversed(log.splitlines()):
        if not line.startswith("{"):
            continue
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if "ran" in found:
            return found
    return None
