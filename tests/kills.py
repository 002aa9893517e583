"""How many kills a test of random kills does: few by default, more where somebody has the time."""

import os

KILLS = int(os.environ.get("PERCEIVER_TEST_KILLS", "0"))


def kills(usual: int) -> int:
    """PERCEIVER_TEST_KILLS, or the usual number."""
    return KILLS or usual
