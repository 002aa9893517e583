"""MLflow's own UI on a tracking store that is no server, for one person on this machine."""

import os
import socket
import sys
import time
from collections.abc import Callable

from cluster.mistake import UserError
from pipelines.companion import companion
from pipelines.tracking import reach

QUIET = {
    "PYTHONWARNINGS": "ignore", "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_UVICORN_OPTS": "--log-level warning",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_WORKERS": "1",
}  # fmt: skip
"""What MLflow says when it starts, and nine processes that judge language models, are in one's way here."""
PAUSE_SECONDS = 0.2


def refuse_taken(port: int, run_file: str) -> None:
    """Find out whether the port can be had.

    Raises:
        UserError: somebody else listens there, or it is not for everybody.
    """
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except (OSError, OverflowError) as error:
        raise UserError(
            f"The MLflow UI cannot be served at port {port}: {getattr(error, 'strerror', error)}. Choose "
            f"another one: perceiver ui {run_file} --tracking.port {5001 if port != 5001 else 5002}"
        ) from error


def serve(uri: str, port: int, ready: Callable[[], None]) -> None:
    """Serve the UI until it is interrupted; `ready` is called once it answers.

    Raises:
        UserError: MLflow ended by itself.
    """
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--port", str(port)]
    with companion(command, QUIET | os.environ) as served:
        while served.poll() is None and reach.away(f"http://127.0.0.1:{port}"):
            time.sleep(PAUSE_SECONDS)
        if served.poll() is None:
            ready()
        status = served.wait()
    raise UserError(f"The MLflow UI on {uri} ended with status {status}; why, it says above.")
