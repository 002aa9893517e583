"""CPU seconds and memory of a process and of all that it started, read from /proc while it runs."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
EVERY = 0.05
WORKER = 0.2
"""A process that used this share of the tree's CPU took part in the work."""


@dataclass(frozen=True, kw_only=True)
class Process:
    parent: int
    own: float
    """CPU seconds of all its threads."""
    reaped: float
    """CPU seconds of its children that ended."""


@dataclass(frozen=True, kw_only=True)
class Used:
    cpu: float
    """CPU seconds of the tree between start and stop."""
    worker_mib: float
    """Resident memory, the shared one of the object store left out, of the largest process that worked."""
    tree_mib: float
    """The same of all processes together, at the moment when it was most."""


class Meter(threading.Thread):
    """Looks at a tree of processes from `start` to `stop`."""

    def __init__(self, root: int) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.before = tree(root)
        self.last = dict(self.before)
        self.peaks: dict[int, float] = {}
        self.largest = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(EVERY):
            self.look()

    def look(self) -> None:
        """Take the CPU seconds and the resident memory of each process."""
        alive = tree(self.root)
        self.last |= alive
        now = {pid: resident(pid) for pid in alive}
        self.largest = max(self.largest, sum(now.values()))
        for pid, mib in now.items():
            self.peaks[pid] = max(mib, self.peaks.get(pid, 0.0))

    def stop(self) -> Used:
        """What was used since the meter was made."""
        self.ended.set()
        self.join()
        self.look()
        gains = {pid: one.own - self.spent(pid) for pid, one in self.last.items()}
        # Whose parent was killed, nobody has reaped; whoever lived for a moment, no look has seen.
        cpu = max(sum(gains.values()), total(tree(self.root)) - total(self.before))
        workers = [pid for pid in self.peaks if gains[pid] >= WORKER * cpu] or list(self.peaks)
        return Used(
            cpu=cpu, worker_mib=max(self.peaks[pid] for pid in workers), tree_mib=self.largest
        )  # fmt: skip

    def spent(self, pid: int) -> float:
        """CPU seconds of a process when the meter was made."""
        return self.before[pid].own if pid in self.before else 0.0


def total(processes: dict[int, Process]) -> float:
    """CPU seconds of all of them, the dead ones included."""
    return sum(one.own + one.reaped for one in processes.values())


def tree(root: int) -> dict[int, Process]:
    """The process and its descendants that are alive."""
    there = {int(path.name): one for path in PROC.iterdir() if path.name.isdigit() and (one := process(path))}
    found = {root}
    while more := {pid for pid, one in there.items() if one.parent in found} - found:
        found |= more
    return {pid: there[pid] for pid in found if pid in there}


def process(path: Path) -> Process | None:
    """One process; None where it ended meanwhile."""
    try:
        fields = (path / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    user, system, their_user, their_system = (int(field) / TICKS for field in fields[11:15])
    return Process(parent=int(fields[1]), own=user + system, reaped=their_user + their_system)


def resident(pid: int) -> float:
    """MiB, without shared memory."""
    try:
        _, pages, _ = (PROC / str(pid) / "statm").read_text().split(maxsplit=2)
        status = (PROC / str(pid) / "status").read_text()
    except OSError:
        return 0.0
    shared = next((line for line in status.splitlines() if line.startswith("RssShmem")), "RssShmem: 0 kB")
    return int(pages) * os.sysconf("SC_PAGESIZE") / 2**20 - int(shared.split()[1]) / 1024
