"""Waits for what another thread or process does."""

import time
from collections.abc import Callable


def wait_until(true: Callable[[], object], seconds: float = 240.0, pause: float = 0.005) -> None:
    """Ask again and again until it is true; busy machines are given the time that they need."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"it did not come in {seconds:.0f} s"
        time.sleep(pause)
