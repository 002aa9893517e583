"""What the loop of a rank asks of the world around it, as functions that whoever starts it hands in."""

from collections.abc import Callable
from dataclasses import dataclass

from pipelines.tracking.points import Point
from pipelines.training.state import State

Watch = Callable[[str, int, State], None]
"""Called with a phase (begin, scored, agreed, taken, saving, saved), its step, and the state.

`saved` comes from the thread that writes, all others from the loop."""


def never() -> bool:
    """Nobody wants the training to stop."""
    return False


def unwatched(phase: str, step: int, state: State) -> None:
    """Nobody watches the loop go by."""


def unheard(text: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, kw_only=True)
class Outside:
    """The world around the loop."""

    publish: Callable[[Point], None]
    """Takes a point of the curves, on the first rank."""
    note: Callable[[str], None] = unheard
    """Takes a sentence for the person, on the first rank."""
    asked_seconds: float = 2.0
    """Seconds from one of the following two questions to the next; both cost a step some milliseconds."""
    stop_wanted: Callable[[], bool] = never
    """Whether the training is to save and stop; the first rank asks."""
    preempted: Callable[[], bool] = never
    """The same of the machines; all ranks ask in the same step, as Ray's answer is a collective."""
    watch: Watch = unwatched
    """Sees the loop go by."""
