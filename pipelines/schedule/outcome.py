"""What a run that ended well came to, in a line: whether anything was new, and whether it became champion."""

from collections.abc import Mapping
from textwrap import shorten
from typing import Any

REASON_CHARACTERS = 160
"""Of the gate's reason; all of it stands in the run's words, in its answer and in the registry."""


def ended_well(answer: Mapping[str, Any] | None, status: int | None) -> bool:
    """Whether it did; `status` is None where nobody was told, and `submit` answers however its job ended."""
    if answer is None:
        return status == 0
    return answer["status"] == "SUCCEEDED" if "sent" in answer else True


def outcome(answer: Mapping[str, Any], goes_on: bool = False) -> str:
    """In words; `answer` is the object that `perceiver run` or `submit --follow` has printed for --json.

    Of a job that had succeeded before nothing was new, unless it is one that this tick has sent (`goes_on`).
    """
    found = answer["answer"] if "sent" in answer else answer
    if not found or "ran" not in found:
        return f"{answer['id']} has done it" if "id" in answer else "done"
    ran = found["ran"] if answer.get("seen", True) or goes_on else []
    version = f"{found['model']} version {found['version']}"
    if "promote" not in ran:
        what = f"only {', '.join(ran)} was to be done" if ran else "nothing was new"
        return f"{what}: {version} stays"
    reason = shorten(found["reason"], REASON_CHARACTERS, placeholder=" ...")
    return f"{version}{' is champion' if found['champion'] else ', not champion'}: {reason}"
