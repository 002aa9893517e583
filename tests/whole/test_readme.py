"""Every command and every line of Python in the README does what it says; together they are the demo."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from ports import free_port

from pipelines.settings import read

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()

pytestmark = pytest.mark.whole


def blocks(language: str, page: str = README) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def environment() -> dict[str, str]:
    """Commands as a person has them after activating the virtual environment."""
    folder = str(Path(sys.executable).parent)
    return {
        **os.environ,
        "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def test_the_readme_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= 250


def test_no_figure_is_still_to_come() -> None:
    assert not re.search(r"\b(FIGURES|RESULTS|TBD)\b", README)


def test_every_make_command_exists() -> None:
    for target in set(re.findall(r"`make ([a-z]+)`", README)):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_every_shipped_run_file_is_in_the_table() -> None:
    for path in (ROOT / "pipelines" / "runs").glob("*.toml"):
        assert f"`{path.name}`" in README


def test_the_run_file_is_one(tmp_path: Path) -> None:
    path = tmp_path / "birds.toml"
    (text,) = blocks("toml")
    path.write_text(text)

    settings = read(str(path), [])

    assert (settings.name, settings.data.image.size, settings.model.image.patch) == ("birds", 64, 4)


@pytest.mark.ray
@pytest.mark.long
def test_the_commands_in_their_order_end_with_a_model_of_the_promised_accuracy(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "pipelines" / "runs", tmp_path / "pipelines" / "runs")
    (commands,) = blocks("sh")
    *most, ui = commands.splitlines()

    said = ""
    for command in most:
        done = subprocess.run(
            command.split(), cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        said += done.stderr
        if command.endswith("--json"):
            promised = re.search(rf"^\| `{command.split()[1]}` \|.*\| (`.*`) \|$", README, re.MULTILINE)
            assert promised is not None
            assert set(json.loads(done.stdout)) == set(re.findall(r"`(\w+)`", promised[1]))
    accuracies = [float(number) for number in re.findall(r"test accuracy +([\d.]+)", said)]
    assert accuracies
    assert min(accuracies) >= 0.95

    for code in [*blocks("python"), *blocks("python", (ROOT / "docs" / "model.md").read_text())]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout

    port = free_port()
    server = subprocess.Popen(
        [*ui.split(), "--tracking.port", str(port)],
        cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        link = next(found for line in server.stderr if (found := re.search(r"http://\S+", line)))
        assert f":{port}/#/experiments/1/runs/" in link[0]
        assert _answers(f"http://127.0.0.1:{port}/health")
    finally:
        server.terminate()  # what it has started ends with it
        server.wait()
        server.stderr.close()


def _answers(url: str) -> bool:
    for _ in range(480):
        try:
            with urllib.request.urlopen(url, timeout=2) as reply:
                return reply.status == 200
        except OSError:
            time.sleep(0.5)
    return False
