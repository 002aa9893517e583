"""A run that is sent to a real cluster is there once, is watched and stopped, and survives its driver."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlparse

import pytest
from ray_nodes import ROOT, Cluster, cluster, kill
from small_runs import Command
from wire import Wire

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.timeout(1200),  # Three jobs: ten minutes where eight others share two cores.
]

PATIENCE = 200  # Seconds after which something that does not come will not.
QUICK = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "30",
    "RAY_worker_niceness": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
STEPS = 20_000
"""So many that no machine is through with them before it is stopped."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head that takes jobs, with a token, and one node."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with cluster(1, dashboard=True, PATH=path, **QUICK) as made:
        yield made


class Person:
    """Types commands, with the cluster's token and address in the environment."""

    def __init__(self, nodes: Cluster, run_file: Path) -> None:
        self.nodes, self.run_file = nodes, run_file.rename(run_file.with_name("shapes.toml"))
        token = nodes.environment["RAY_AUTH_TOKEN"]
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "RAY_AUTH_TOKEN": token, "RAY_API_SERVER_ADDRESS": nodes.job_server, "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def begin(self, *words: str, log: Path, **more: str) -> "subprocess.Popen[bytes]":
        """Start a command whose words go to `log` and whose answer to `log`.json."""
        with log.open("wb") as said, log.with_suffix(".json").open("wb") as answer:
            return subprocess.Popen(
                [sys.executable, "-m", "pipelines", *words, "--json"], stdout=answer, stderr=said,
                env={**self.environment, **more}, cwd=self.run_file.parent,
            )  # fmt: skip

    def asked(self, *words: str) -> "subprocess.CompletedProcess[str]":
        """A question and its answer in words."""
        return subprocess.run(
            [sys.executable, "-m", "pipelines", *words], capture_output=True, text=True, check=True,
            env=self.environment, cwd=self.run_file.parent,
        )  # fmt: skip

    def submit(self, log: Path, *words: str, steps: int = STEPS, **more: str) -> "subprocess.Popen[bytes]":
        often = ["--train.save-every", "200", "--train.evaluate-every", str(STEPS)]
        run = [self.run_file.name, "--train.steps", str(steps), *often]
        return self.begin("submit", *run, *words, log=log, **more)


def until(true: Callable[[], object], log: Path) -> None:
    """Wait until it is so."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def answer(process: "subprocess.Popen[bytes]", log: Path, status: int = 0) -> dict[str, object]:
    """What a command that has ended answered."""
    assert process.wait(PATIENCE) == status, log.read_text()
    return json.loads(log.with_suffix(".json").read_text())


def trained(log: Path) -> int:
    """Samples that the log says are learnt."""
    counts = re.findall(r"^train: ([\d,]+) of ", log.read_text(), re.MULTILINE)
    return int(counts[-1].replace(",", "")) if counts else 0


def killed_amid_training(person: Person, log: Path) -> None:
    """Kill the driver while somebody watches over a wire that has broken once."""
    address = urlparse(person.nodes.job_server)
    wire = Wire((address.hostname, address.port))
    with wire.open() as wired:
        watching = person.begin("jobs", "logs", "--follow", log=log, RAY_API_SERVER_ADDRESS=wired)
        until(lambda: trained(log) > 0, log)
        wire.cut()
        until(lambda: "lost the connection" in log.read_text(), log)
        before = trained(log)
        until(lambda: trained(log) > before, log)
        (driver,) = [one for one in person.nodes.nodes[0].processes() if "-m pipelines run" in one.command]
        kill(driver.pid)
        assert answer(watching, log, status=1)["status"] == "FAILED"
    assert "killed by signal 9" in log.read_text()
    lines = [line for line in log.read_text().splitlines() if line.startswith("train: ")]
    assert len(lines) == len(set(lines)), "no line is shown twice"


def trained_anew(person: Person, log: Path) -> None:
    """Forced, it trains anew beside the old training, and goes no further than it is told."""
    words = ("--force", "train", "--until", "train", "--follow")
    forced = answer(person.submit(log, *words, steps=20), log)
    assert (forced["sent"], forced["status"]) == (True, "SUCCEEDED")
    assert "train: it is asked for with --force; the training before it stays in" in log.read_text()
    assert "evaluate:" not in log.read_text()


def test_a_run_is_sent_once_survives_its_driver_is_stopped_and_ends_registered(
    nodes: Cluster, run_file: Path, tmp_path: Path
) -> None:
    person = Person(nodes, run_file)
    logs = [tmp_path / f"{name}.log" for name in ("one", "two", "three", "four", "five", "six", "seven")]
    one, two, three, four, five, six, seven = logs

    # Two at once; one of them stays to watch.
    both = [person.submit(one, "--follow"), person.submit(two)]
    second = answer(both[1], two)
    until(lambda: trained(one) > 0, one)
    name = str(second["id"])

    listed = person.begin("jobs", "list", log=six)
    (row,) = answer(listed, six)["jobs"]
    assert (row["id"], row["status"], row["stage"]) == (name, "RUNNING", "train")
    assert row["total"] == 12 * STEPS
    assert row["done"] > 0

    both[0].send_signal(signal.SIGINT)
    first = answer(both[0], one, status=1)
    assert first["id"] == name
    assert sorted([first["sent"], second["sent"]]) == [False, True]
    assert first["status"] == "RUNNING", "Ctrl-C leaves it running"
    assert f"perceiver jobs stop {name}" in one.read_text()

    killed_amid_training(person, three)

    failed = answer(person.begin("jobs", "list", log=six), six)["jobs"]
    assert [(row["status"], row["stage"]) for row in failed] == [("FAILED", "train")]
    assert re.search(r"FAILED +train [\d,]+ of 240,000 ", six.read_text()), "the stage that it died in"

    # Sent again it goes on; stopped it takes a checkpoint.
    again = person.submit(four, "--follow")
    until(lambda: trained(four) > 0, four)
    stopped = answer(person.begin("jobs", "stop", name[:-2], log=six), six)
    assert answer(again, four, status=1)["sent"] is True
    assert stopped == {"id": f"{name[:-1]}2", "status": "STOPPED", "address": nodes.job_server}
    (saved,) = re.findall(r"stopped; ([\d,]+) of 20,000 steps are saved", six.read_text())
    assert "shard: up to date" in four.read_text()
    assert "train: it was interrupted" in four.read_text()

    # For fewer steps it is another job, which goes on from there too, to a registered model.
    steps = int(saved.replace(",", "")) + 40
    ended = answer(person.submit(five, "--follow", steps=steps), five)
    assert ended["status"] == "SUCCEEDED"
    assert str(ended["id"]).startswith("columns-")
    assert ended["id"] != name
    assert "train: it was interrupted" in five.read_text()
    assert "register: columns version 1, alias candidate" in five.read_text()
    assert f"perceiver ui {person.run_file.name} --workspace" in five.read_text(), "the file that was sent"
    assert (ended["answer"]["version"], ended["answer"]["champion"]) == (1, False)
    assert ended["answer"]["ran"] == ["train", "evaluate", "register", "promote"]

    # What it said can be read on by another program.
    log = person.asked("jobs", "logs", str(ended["id"]))
    assert "register: columns version 1, alias candidate" in log.stdout
    assert "SUCCEEDED" in person.asked("jobs", "status", str(ended["id"])).stdout
    assert str(ended["id"]) in person.asked("jobs").stdout

    # After that nothing is sent.
    done = answer(person.submit(six, steps=steps), six)
    assert (done["id"], done["sent"]) == (ended["id"], False)
    assert (done["seen"], done["answer"]) == (False, ended["answer"])
    assert f"nothing is sent: {ended['id']} (it has done this already" in six.read_text()

    trained_anew(person, seven)


@pytest.mark.parametrize(
    ("token", "said"), [("no" * 32, "refuses the token"), ("", "wants a token. `export RAY_AUTH_MODE=token`")]
)
def test_without_the_clusters_token_nobody_comes_in(
    nodes: Cluster, run_file: Path, perceiver: Command, token: str, said: str, tmp_path: Path
) -> None:
    environment = {"RAY_AUTH_TOKEN": token, "RAY_AUTH_MODE": "token" if token else "disabled"}
    there = ["--address", nodes.job_server]

    refused = perceiver("jobs", "list", *there, check=False, env={**environment, "HOME": str(tmp_path)})

    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
