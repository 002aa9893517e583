"""A real MLflow server on loopback, as its own processes, which can be killed, stopped and started again."""

import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from ports import free_port
from waiting import wait_until


class MlflowServer:
    """One server with one database; `port` stays when it is started again."""

    def __init__(self, folder: Path, store: str = "", artifacts: str = "") -> None:
        self.port = free_port()
        self.folder = folder
        self.store = store or f"sqlite:///{folder}/mlflow.db"
        self.artifacts = artifacts or str(folder / "files")
        self.process: subprocess.Popen[Any] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.folder.mkdir(exist_ok=True)
        command = [
            sys.executable, "-m", "mlflow", "server", "--port", str(self.port),
            "--backend-store-uri", self.store, "--artifacts-destination", self.artifacts,
        ]  # fmt: skip
        environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        self.process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **environment},
        )  # fmt: skip
        wait_until(self.answers, pause=0.25)

    def answers(self) -> bool:
        """Whether it is there; it is not expected to end by itself."""
        assert self.process
        assert self.process.poll() is None, "the server ended"
        try:
            urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
        except OSError:
            return False
        return True

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes: SIGSTOP makes it accept and never answer."""
        assert self.process
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """SIGKILL, if it runs."""
        if self.process:
            self.send(signal.SIGKILL)
            self.process.wait()
            self.process = None
