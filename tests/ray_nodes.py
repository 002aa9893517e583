"""A Ray cluster of several real nodes on this machine, which a test may kill node by node.

Each node is a set of processes with a loopback address, ports and a folder of its own. They are found by a
variable that they inherit, so that nothing else is ever killed.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from uuid import uuid4

from ports import free_port

ROOT = Path(__file__).parent.parent
MARK = "PERCEIVER_TEST_NODE"
QUICK = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "4",
}
"""A dead node is noticed after 2 s instead of 13 s; a slow one is not taken for dead."""
START_SECONDS = 240


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    pid: int
    parent: int
    marked: str
    """The node that it was started by; empty where its environment does not say."""
    command: str


@dataclass
class Node:
    """One `ray start` with all its descendants."""

    mark: str
    ip: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def joined(self) -> bool:
        """Whether the cluster can use it."""
        return self.process.poll() is None and "Ray runtime started" in self.log.read_text()

    def processes(self) -> list[Process]:
        """All that belong to the node; a process title may overwrite an environment, so descendants count."""
        table = processes()
        found = {one.pid: one for one in table if one.marked == self.mark}
        while young := [one for one in table if one.parent in found and one.pid not in found]:
            found |= {one.pid: one for one in young}
        return [*found.values()]

    def kill(self) -> None:
        """SIGKILL for everything on the node, as when its power goes."""
        until = time.monotonic() + 240
        while there := self.processes():
            assert time.monotonic() < until, there
            for one in there:
                kill(one.pid)
            self.process.poll()  # So that it does not stay in the table.
            time.sleep(0.02)
        self.process.wait()


@dataclass
class Cluster:
    """A head without CPUs, where drivers run, and nodes that work."""

    folder: Path
    net: int
    """Third number of the nodes' addresses."""
    nodes: list[Node] = field(default_factory=list)
    """The head first; dead ones are left out."""
    dashboard: bool = False
    """Whether the head takes jobs."""
    started: int = 0
    port: int = 0
    http: int = 0
    environment: dict[str, str] = field(
        default_factory=lambda: {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid4().hex * 2, "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_enable_worker_prestart": "0", "RAY_prestart_worker_first_driver": "0",
            "RES_OPTIONS": "timeout:1 attempts:1", "PYTHONPATH": str(ROOT), **QUICK,
        }
    )  # fmt: skip
    """What everybody who joins must have."""

    def workers(self) -> list[Node]:
        """Those that have joined; one that gave up is started again: Ray gives a start 30 s."""
        for node in self.nodes[1:]:
            if node.process.poll() is not None:
                self.kill(node)
                self.add(1)
        return [node for node in self.nodes[1:] if node.joined]

    @property
    def address(self) -> str:
        return f"{self.nodes[0].ip}:{self.port}"

    @property
    def job_server(self) -> str:
        return f"http://{self.nodes[0].ip}:{self.http}"

    def add(self, cpus: int) -> Node:
        """Start a node, the head where there is none; it takes a while to join."""
        self.started += 1
        mark, ip = f"{self.folder.name}-{self.started}", f"127.0.{self.net}.{self.started}"
        scratch = self.folder / str(self.started)
        scratch.mkdir()
        words = [f"--node-ip-address={ip}", f"--num-cpus={cpus}", f"--temp-dir={scratch}", *self.ports(ip)]
        with (scratch / "start.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words, *self.role(ip)],
                env={**os.environ, **self.environment, MARK: mark},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True,
            )  # fmt: skip
        self.nodes.append(Node(mark, ip, process, scratch / "start.log"))
        return self.nodes[-1]

    def role(self, ip: str) -> list[str]:
        """The options that make a head, or join it."""
        if self.nodes:
            return [f"--address={self.address}"]
        self.port, client, self.http = free_port(), free_port(), free_port()
        return ["--head", f"--port={self.port}", f"--ray-client-server-port={client}", "--no-monitor",
                f"--include-dashboard={self.dashboard}", f"--dashboard-port={self.http}",
                f"--dashboard-host={ip}"]  # fmt: skip

    def ports(self, ip: str) -> list[str]:
        """Those that Ray would otherwise give to every node alike, and no process that nothing here needs."""
        names = ("dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port",
                 "runtime-env-agent-port")  # fmt: skip
        own = [f"--{name}={free_port(ip)}" for name in names]
        return [*own, "--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=100000000",
                "--disable-usage-stats", "--include-log-monitor=false"]  # fmt: skip

    def kill(self, node: Node) -> None:
        """Take a node away, with all that runs on it."""
        self.nodes.remove(node)
        node.kill()

    def driver(self, output: IO[bytes], *words: str | Path) -> "subprocess.Popen[bytes]":
        """Start Python on the head with these words; it goes when the head is killed."""
        scratch = str(self.folder / "1")
        return subprocess.Popen(
            [sys.executable, *map(str, words)],
            env={**os.environ, **self.environment, "RAY_TMPDIR": scratch, MARK: self.nodes[0].mark},
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=ROOT, start_new_session=True,
        )  # fmt: skip


@contextmanager
def cluster(workers: int, dashboard: bool = False, **more: str) -> Iterator[Cluster]:
    """A head and so many nodes of one CPU each, with `more` environment; nothing is left in the end."""
    # Short, because the sockets in it must stay under 107 bytes.
    with own_net() as net, tempfile.TemporaryDirectory(prefix="rn-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder), net, dashboard=dashboard)
        made.environment |= more
        try:
            head = made.add(0)
            wait_for(lambda: head.joined, head.log)
            for count in range(1, workers + 1):
                log = made.add(1).log
                wait_for(lambda count=count: len(made.workers()) == count, log)
            yield made
        finally:
            for node in reversed(made.nodes):
                node.kill()


@contextmanager
def own_net() -> Iterator[int]:
    """The third number of addresses that no other cluster here has: it holds one of them as long."""
    with next(door for net in range(20, 220) if (door := listening(f"127.0.{net}.254"))) as door:
        yield int(door.getsockname()[0].split(".")[2])


def listening(ip: str) -> socket.socket | None:
    """A socket that holds this address; None where another process does."""
    with suppress(OSError):
        return socket.create_server((ip, 19_999))


def wait_for(joined: Callable[[], bool], log: Path) -> None:
    """Return when it is so."""
    until = time.monotonic() + START_SECONDS
    while not joined():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def processes() -> list[Process]:
    """All of this machine that can be looked at; the dead that nobody has waited for left out."""
    found: list[Process] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                state, parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[:2]
                environment = (entry / "environ").read_bytes().split(b"\0")
                marks = [one for one in environment if one.startswith(f"{MARK}=".encode())]
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if state != "Z":
                    mark = marks[0].decode().partition("=")[2] if marks else ""
                    found.append(Process(int(entry.name), int(parent), mark, command.strip()))
    return found


def kill(pid: int) -> None:
    """SIGKILL, if it is still there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
