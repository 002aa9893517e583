"""One writer per workflow: a lease whose number fences off whoever held it before.

    <place>/holder-<token>.json   who holds it, or is about to, and a count that goes on while it lives
    <place>/a0003, a0003-<token>  the claim: the lease's number, greater than all before

A holder that dies, freezes or is cut off stops counting. Whoever comes then watches it for `STALE_SECONDS` of
its own clock and takes the very next number, which one alone can; the one before it, should it wake, is
refused at its next `check`. On the same machine a process that is gone is seen at once. No two machines'
clocks are compared.
"""

import json
import os
import shlex
import socket
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self
from uuid import uuid4

from cluster.mistake import UserError
from cluster.storage import Store, untouched
from pipelines.attempts import CLAIM, Attempts, OvertakenError
from pipelines.processes import born
from pipelines.progress import say

BEAT_SECONDS = 1.0
STALE_SECONDS = 45.0
"""Longer than NFS shows what a folder held before, of which every beat is a change (30 s)."""
WATCH_SECONDS = 0.25


class HeldError(UserError):
    """Another process is at work there."""


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a lease."""

    host: str
    machine: str
    """Tells apart what a host's name does not: a start of its kernel, and a container's processes."""
    pid: int
    born: int
    """When the process started, in the kernel's ticks: a pid is given out again, a pid and this are not."""
    command: str
    since: str
    """Local time with its zone."""
    beats: int = 0
    """Goes on while the process lives."""
    released: bool = False

    @classmethod
    def here(cls) -> Self:
        """This process."""
        pid = os.getpid()
        return cls(
            host=socket.gethostname(), machine=_machine(), pid=pid, born=born(pid) or 0,
            command=shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            since=time.strftime("%Y-%m-%d %H:%M:%S %Z"),
        )  # fmt: skip

    @property
    def gone(self) -> bool:
        """Whether it is known to be dead, which only its own machine can know."""
        return self.machine == _machine() and born(self.pid) != self.born

    def __str__(self) -> str:
        return f"`{self.command}` (process {self.pid} on {self.host}, since {self.since})"


@dataclass(frozen=True)
class Lease:
    """The right to write, as long as nobody has taken a later number."""

    home: Store
    number: int
    """The fencing token."""
    token: str

    def check(self) -> None:
        """Go on only while nobody has taken over; called before whatever is sealed.

        Raises:
            OvertakenError: a newer lease was taken: this process was taken for dead.
        """
        newest = Attempts(self.home).newest()
        if newest > self.number:
            by = _holder(self.home, newest) or "Another process"
            raise OvertakenError(
                f"{by} has taken over: this process (lease {self.number} of {self.home.place}) had not been "
                f"heard of for too long, and writes nothing more."
            )


@contextmanager
def lease(place: Path, what: str, stale_seconds: float = STALE_SECONDS) -> Generator[Lease]:
    """Hold the lease at `place` meanwhile; `what` names the thing in a refusal: "the workflow in work/a".

    Raises:
        HeldError: somebody else holds it, and is alive.
    """
    home, me, token = untouched(str(place)), Holder.here(), uuid4().hex
    held = _taken(home, me, token, what, stale_seconds)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(held, me, stop), name="lease", daemon=True)
    beating.start()
    try:
        yield held
    finally:
        stop.set()
        beating.join()
        with suppress(OSError, UserError):
            _write(home, token, replace(me, released=True))


def holder(place: Path) -> Holder | None:
    """Who holds the lease at `place`, as far as is known; None where nobody does, or its process is gone."""
    home = untouched(str(place))
    found = _holder(home, Attempts(home).newest())
    return None if found is None or found.released or found.gone else found


def _taken(home: Store, me: Holder, token: str, what: str, stale_seconds: float) -> Lease:
    """The lease, once nobody else holds it."""
    attempts = Attempts(home)
    while True:
        free = _wait_until_free(home, attempts, what, stale_seconds)
        # First who, then what: a disk that is full for the one does not overtake a holder by the other.
        _write(home, token, me)
        try:
            # One alone can take the number behind the free one: who is slower finds it held. Where others
            # went on and removed it, there are greater ones.
            if attempts.take(free + 1, token) and attempts.newest() == free + 1:
                held = Lease(home, free + 1, token)
                _sweep(held)
                return held
        except BaseException:
            home.remove(_name(token))
            raise
        home.remove(_name(token))


def _wait_until_free(home: Store, attempts: Attempts, what: str, stale_seconds: float) -> int:
    """The newest number, once nobody holds it who is alive."""
    newest, seen, since, said = attempts.newest(), None, time.monotonic(), False
    while newest:
        found = _holder(home, newest)
        if found and (found.released or found.gone):
            break
        # One that was killed amid its claim has no name.
        if found and seen and found.beats > seen.beats:
            raise HeldError(
                f"{what[:1].upper()}{what[1:]} is at work already: {found}. Wait until it ends, or stop it. "
                f"Were it dead, the next one would take over after {stale_seconds:.0f} s."
            )
        waited = time.monotonic() - since
        if waited > stale_seconds:
            break
        if not said and waited > 3 * BEAT_SECONDS:
            said = True
            by = f"{found}, which is not heard of" if found else "somebody without a name"
            say(f"{what} was left by {by}: taken over in {stale_seconds - waited:.0f} s")
        time.sleep(WATCH_SECONDS)
        seen, later = seen or found, attempts.newest()
        if later > newest:
            newest, seen, since, said = later, None, time.monotonic(), False
    return newest


def _sweep(held: Lease) -> None:
    """Remove what earlier holders left; the newest number stays, so that numbers rise for ever."""
    kept = {_name(token) for token in Attempts(held.home).tokens(held.number)}
    for one in list(held.home.list()):
        claim = CLAIM.fullmatch(one.name.partition("-")[0])
        old = claim and int(claim[1]) < held.number
        with suppress(OSError, UserError):
            if old or (one.name not in kept and _left(held.home, one.name)):
                held.home.remove(one.name)


def _left(home: Store, name: str) -> bool:
    """Whether this names a holder that is over; one that is about to take a number stays."""
    found = _read(home, name) if name.startswith("holder-") else None
    return bool(found and (found.released or found.gone))


def _beat(held: Lease, me: Holder, stop: threading.Event) -> None:
    """Let it be seen that this process lives, until somebody has taken over."""
    beats = 0
    while not stop.wait(BEAT_SECONDS):
        beats += 1
        with suppress(OSError, UserError):  # a full disk; what is sealed next says so
            if Attempts(held.home).newest() > held.number:
                return
            _write(held.home, held.token, replace(me, beats=beats))


def _name(token: str) -> str:
    return f"holder-{token}.json"


def _write(home: Store, token: str, me: Holder) -> None:
    home.write(_name(token), json.dumps(asdict(me)).encode())


def _holder(home: Store, number: int) -> Holder | None:
    """Who took this number, where that is known."""
    tokens = Attempts(home).tokens(number) if number else []
    return _read(home, _name(tokens[0])) if len(tokens) == 1 else None


def _read(home: Store, name: str) -> Holder | None:
    try:
        return Holder(**json.loads(home.read(name)))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _machine() -> str:
    """Where a process number means the same process."""
    with suppress(OSError):
        start = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{start} {Path('/proc/self/ns/pid').readlink()}"
    return ""
