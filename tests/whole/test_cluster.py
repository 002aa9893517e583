"""A run joins a Ray cluster that was there before, and leaves it as it was."""

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port
from small_runs import Command, kill_tree

pytestmark = [pytest.mark.whole, pytest.mark.ray]


TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex * 2}
"""Ray's own variables, which everybody who joins must have."""


@pytest.fixture
def head() -> Iterator[str]:
    """The address of a Ray head with two CPUs, in processes of its own."""
    port, client_port = free_port(), free_port()
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
        log = Path(folder) / "start.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **TOKEN})
        try:
            wait_for_start(log, process)
            yield f"127.0.0.1:{port}"
        finally:
            kill_tree(process)


def wait_for_start(log: Path, process: "subprocess.Popen[bytes]") -> None:
    """Return when the node has joined: the head's port answers before."""
    until = time.monotonic() + 240
    while "Ray runtime started" not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.1)


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
