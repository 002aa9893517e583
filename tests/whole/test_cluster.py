"""A run joins a Ray cluster that was there before, and leaves it as it was."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_runs import Command, kill_tree

pytestmark = [pytest.mark.whole, pytest.mark.ray]


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2}
"""Ray's own variables, which everybody who joins must have."""


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a Ray head with two CPUs, in processes of its own."""
    port, client_port = free_ports(2)
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder:
        options = {
            "--port": port, "--ray-client-server-port": client_port, "--num-cpus": 2, "--temp-dir": folder,
            "--include-dashboard": "false", "--min-worker-port": 0, "--max-worker-port": 0,
        }  # fmt: skip
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            "--head",
            "--block",
            "--disable-usage-stats",
        ]
        command += [f"{name}={value}" for name, value in options.items()]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **TOKEN}
        )
        try:
            wait_for(port, process)
            yield f"127.0.0.1:{port}"
        finally:
            kill_tree(process)


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    for _ in range(480):
        assert process.poll() is None, "the Ray head ended"
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        except OSError:
            time.sleep(0.25)
    time.sleep(10)  # the port answers before the node has joined


def test_a_run_on_a_cluster_leaves_it_running(head: str, perceiver: Command, run_file: Path) -> None:
    there = ["--cluster.address", head]

    answer = json.loads(
        perceiver("run", run_file, *there, "--cluster.workers", "2", "--json", env=TOKEN).stdout
    )
    too_many = [*there, "--cluster.workers", "3", "--train.steps", "20"]
    refused = perceiver("train", run_file, *too_many, check=False, env=TOKEN)

    assert answer["version"] == 1
    assert refused.returncode == 2
    assert "3 workers with 1 CPU each do not fit the cluster's nodes (2 CPU, 0 GPU)" in refused.stderr
