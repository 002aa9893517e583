"""Holds a lease in a process that a test may kill or freeze: HOLDER PLACE STALE_SECONDS LOG [ROUNDS].

It adds `held NUMBER` to the log, and for each line on its stdin checks and adds `good`, or who has taken
over. With ROUNDS it takes the lease so often, and adds `in` and `out` around a moment in which it alone may
be there.
"""

import os
import sys
import time
from pathlib import Path

from pipelines.lease import HeldError, Lease, OvertakenError, lease


def main(place: str, stale_seconds: str, log: str, rounds: str = "0") -> None:
    """As the first line says."""
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(text: str) -> None:
        os.write(handle, f"{text}\n".encode())

    def hold() -> None:
        with lease(Path(place), "the workflow here", float(stale_seconds)) as held:
            say(f"held {held.number}")
            answer(held)

    def answer(held: Lease) -> None:
        for _ in sys.stdin:
            try:
                held.check()
                say("good")
            except OvertakenError as overtaken:
                say(str(overtaken))

    def take_turns() -> None:
        left = int(rounds)
        while left:
            try:
                with lease(Path(place), "the workflow here", float(stale_seconds)) as held:
                    say(f"in {held.number}")
                    time.sleep(0.02)
                    held.check()
                    say(f"out {held.number}")
                    left -= 1
            except HeldError:
                say("refused")

    take_turns() if int(rounds) else hold()


if __name__ == "__main__":
    main(*sys.argv[1:])
