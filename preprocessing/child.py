"""A process beside this one that decodes, is watched while it does, and is ended when it stays too long."""

import ctypes
import os
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any

from preprocessing.isolated_child import PAGE_BYTES, Done, Failed, Page, Request

PULSE = 0.1  # Seconds between two looks at a file that is being decoded.
PATIENCE = 10  # Seconds on the clock for each CPU second a file may take: a decoder may sleep, or a disk may.


@dataclass(frozen=True, kw_only=True)
class Died:
    """The process ended without an answer."""

    path: str
    """The file that it decoded; empty where it decoded none."""
    overran: bool
    """Whether it was ended for its time."""
    status: int
    """Its exit status, or the signal's number below zero."""


class Child:
    """One process that calls functions for this one, kept for many calls and started by the constructor.

    It belongs to the thread that started it: the kernel ends it with that thread.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.connection, theirs = Pipe()
        with tempfile.TemporaryFile() as file:
            file.write(bytes(PAGE_BYTES))  # Written, not only sized: a full disk is found here and now.
            file.flush()
            self.page = Page(file.fileno())
            with theirs:
                self.process = started(self.owner, theirs.fileno(), file.fileno())
        self.stop = weakref.finalize(self, stop, self.owner, self.process, self.connection)
        self.cpu_seconds = cpu_clock(self.process.pid)

    def usable(self) -> bool:
        """Whether it is there to be asked by this process."""
        return self.owner == os.getpid() and self.process.poll() is None

    def call(self, request: Request, seconds: float) -> Done | Failed | Died:
        """The function's answer, or how the process ended; `seconds` of CPU time are given to each file."""
        try:
            self.connection.send(request)
            overran = self.overruns(seconds)
            if not overran:
                return self.connection.recv()
        except (EOFError, ConnectionError):
            return self.died(overran=False)
        except BaseException:
            self.stop()  # Its answer would be taken for that to the next request.
            raise
        return self.died(overran=overran)

    def overruns(self, seconds: float) -> bool:
        """Wait until there is something to be received (False), or a file has taken too long (True)."""
        watched, cpu, wall = 0, 0.0, 0.0
        while not self.connection.poll(PULSE):
            current = self.page.current
            if current != watched:
                watched, cpu, wall = current, self.cpu_seconds(), time.monotonic()
            elif watched and (
                self.cpu_seconds() - cpu > seconds or time.monotonic() - wall > PATIENCE * seconds
            ):
                self.process.kill()
                self.process.wait()
                return self.page.current == watched  # If it got on after all, no file is to blame.
            if self.process.poll() is not None and not self.connection.poll():
                raise EOFError  # Whatever it left behind keeps the pipe open.
        return False

    def died(self, *, overran: bool) -> Died:
        """How it ended, once it has."""
        status = self.process.wait()
        self.stop()
        return Died(path=self.page.path, overran=overran, status=status)


def started(parent: int, *descriptors: int) -> "subprocess.Popen[bytes]":
    """A fresh interpreter that finds the same modules; what it prints goes where errors go."""
    places = os.pathsep.join(place or str(Path.cwd()) for place in sys.path)
    words = [str(number) for number in (parent, *descriptors)]
    # -P: with -m alone, a file in the working directory would hide a library of its name.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "preprocessing.isolated_child", *words],
        stdin=subprocess.DEVNULL,
        stdout=2,
        # Arrow's own pool reserves 1 GiB at its first table, which would count as what decoding took.
        env={**os.environ, "PYTHONPATH": places, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        pass_fds=descriptors,
    )


def stop(owner: int, process: "subprocess.Popen[bytes]", connection: "Connection[Any, Any]") -> None:
    """End the process; a fork of its parent leaves it alone."""
    connection.close()
    if owner == os.getpid():
        process.kill()
        process.wait()


def cpu_clock(process: int) -> Callable[[], float]:
    """Reads another process's CPU seconds, user and system; always 0 where the system does not say."""
    clock = ctypes.c_int()
    find = getattr(ctypes.CDLL(None), "clock_getcpuclockid", None)
    if find is None or find(process, ctypes.byref(clock)):
        return float
    return lambda: time.clock_gettime(clock.value)
