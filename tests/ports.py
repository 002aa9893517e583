"""Ports for servers that a test starts: nobody else is given one between the asking and the start.

They lie below those that the kernel hands out to outgoing connections (from 32768), above those that Ray
gives its workers (to 19999), and each process of pytest-xdist has a stretch of its own.
"""

import os
import random
import socket
from contextlib import suppress
from itertools import cycle

FIRST, STRETCH, PROCESSES = 20_000, 3_000, 4

_own = FIRST + STRETCH * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % PROCESSES)
_begin = random.SystemRandom().randrange(STRETCH)  # Another run of the suite may have the same stretch.
_next = cycle(_own + (_begin + number) % STRETCH for number in range(STRETCH))


def free_port(ip: str = "127.0.0.1") -> int:
    """A port of this address that nobody listens on, and that was not given before."""
    return next(port for port in _next if _is_free(ip, port))


def _is_free(ip: str, port: int) -> bool:
    with suppress(OSError), socket.create_server((ip, port)):
        return True
    return False
