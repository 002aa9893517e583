"""`perceiver ui` serves MLflow's UI as long as it lives, and no longer."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ports import free_port
from small_runs import Command, descendants, kill_tree
from waiting import wait_until

from pipelines.processes import born
from pipelines.tracking import reach

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0
Ui = Callable[[int], "subprocess.Popen[str]"]

pytestmark = pytest.mark.whole


@pytest.fixture
def ui(run_file: Path) -> Iterator[Ui]:
    """Starts the UI of the small run at a port."""
    (run_file.parent / "work").mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(port: int) -> "subprocess.Popen[str]":
        ui = [sys.executable, "-m", "pipelines", "ui", str(run_file), "--tracking.port", str(port)]
        # Whatever nohup has the tests ignore, it does not.
        command = ["env", "--default-signal", *ui]
        started.append(subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        kill_tree(process)
        assert process.stderr
        process.stderr.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_all_that_it_started_ends_with_it_whichever_signal_ends_it(ui: Ui, number: signal.Signals) -> None:
    port = free_port()
    process = ui(port)
    assert process.stderr
    said = [process.stderr.readline() for _ in range(2)]
    while not said[-1].startswith("Ctrl-C ends it"):
        said.append(process.stderr.readline())
        assert said[-1], said
    answered = reach.away(f"http://127.0.0.1:{port}")
    family = {pid: born(pid) for pid in descendants(process.pid)}

    process.send_signal(number)
    process.wait(PATIENCE)

    assert answered == "", "the link is said once the server answers"
    assert said[-2] == f"open http://127.0.0.1:{port}\n"
    assert not [line for line in said if "Warning" in line or "INFO" in line]
    assert len(family) >= 3, "the companion, MLflow and its server"
    wait_until(lambda: not any(born(pid) == since for pid, since in family.items()))
    # Of a killed process with several threads the last one to end gives the port back.
    wait_until(lambda: is_free(port))


def is_free(port: int) -> bool:
    """Whether a server can begin there."""
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_workspace_that_no_run_has_made_is_said(perceiver: Command, run_file: Path) -> None:
    done = perceiver("ui", run_file, check=False)

    assert done.returncode == 2
    assert f"work yet. First: perceiver run {run_file}\n" in done.stderr
    assert not (run_file.parent / "work").exists()


def test_a_port_that_is_taken_is_refused_before_anything_starts(perceiver: Command, run_file: Path) -> None:
    (run_file.parent / "work").mkdir()
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = other.getsockname()[1]
        done = perceiver("ui", run_file, "--tracking.port", str(port), check=False)

    assert done.returncode == 2
    assert f"cannot be served at port {port}: Address already in use" in done.stderr
    assert f"perceiver ui {run_file} --tracking.port 5001" in done.stderr
    assert "http://" not in done.stderr


@pytest.mark.slow
def test_a_store_that_mlflow_cannot_open_ends_it_with_its_words(
    perceiver: Command, run_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "torn.db").write_bytes(b"no database" * 100)
    port, uri = str(free_port()), f"sqlite:///{tmp_path}/torn.db"

    done = perceiver("ui", run_file, "--tracking.port", port, "--tracking.uri", uri, check=False)

    assert done.returncode == 2
    assert "file is not a database" in done.stderr
    assert f"error: The MLflow UI on {uri} ended with status 1; why, it says above." in done.stderr
    assert "open http" not in done.stderr
