"""On a real cluster of two nodes a training ends by itself, and right, whatever is killed meanwhile."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import boto3
import mlflow
import pytest
from groups import elsewhere, learnt_curves, newest, train_group
from mlflow_server import MlflowServer
from ray_nodes import ROOT, Cluster, Process, cluster, kill, processes
from s3_server import ENVIRONMENT, PAGE, PROXY, Access, s3_server, start, wait_for
from small_runs import Command

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking.points import Curve
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.pulse import Account, accounts
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

STEPS, SAVE = 160, 20
AWAY_SECONDS = 12
BOUND = 1e-4  # Of losses, after 160 steps whose sums were taken in another order.
PATIENCE = 180  # Seconds after which something that does not come will not.
QUICK = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "1",
}
CONTROLLER = "ray::TrainController"
RANKS = (CONTROLLER, "ray::RayTrainWorker", "ray::_RayTrainWorker")


class Run:
    """A command that trains, on the cluster's head; the same again with `again`."""

    def __init__(
        self, nodes: Cluster, settings: RunSettings, shards: Shards, run_file: Path, name: str = "run"
    ) -> None:
        self.nodes, self.settings, self.shards, self.run_file = nodes, settings, shards, run_file
        self.layout = Layout.of(settings, shards.digest)
        self.pace, self.log = run_file.with_name(f"{name}.pace"), run_file.with_name(f"{name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self.go(0.05)

    def start(self, *options: str, fault: dict[str, object] | None = None) -> None:
        """At a pace that the test sets, perhaps with a fault."""
        driver = ROOT / "tests" / "training_driver.py"
        self.launch(driver, self.pace, json.dumps(fault or {}), options=options)

    def start_command(self, *options: str) -> None:
        """What a person types."""
        self.launch("-m", "pipelines", "train", options=options)

    def launch(self, *words: str | Path, options: tuple[str, ...]) -> None:
        own = ["--cluster.address", self.nodes.address, "--train.steps", str(self.settings.train.steps)]
        more = [*own, "--train.save-every", str(SAVE), *options]
        with self.log.open("ab") as log:
            self.process = self.nodes.driver(log, *words, self.run_file, *more)

    def go(self, seconds: float) -> None:
        """From now on each step takes so much longer."""
        self.pace.write_text(str(seconds))

    @property
    def said(self) -> str:
        return self.log.read_text()

    @property
    def accounts(self) -> list[Account]:
        return accounts(self.layout.attempts)

    def await_attempt(self, number: int, steps: int) -> Account:
        """Wait until the attempt has taken so many steps itself."""
        self.until(
            lambda: any(one.attempt == number and one.step >= one.first + steps for one in self.accounts)
        )
        return self.accounts[number - 1]

    def until(self, true: Callable[[], object]) -> None:
        """Wait until it is so, while the command goes on."""
        began = time.monotonic()
        while not true():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < began + PATIENCE, self.said
            time.sleep(0.02)

    def ended(self) -> int:
        """The status, once the command has ended."""
        return self.process.wait(PATIENCE)

    def kill(self) -> None:
        """SIGKILL for the command; its ranks go a little later."""
        if self.process:
            self.process.kill()
            self.process.wait()
        until = time.monotonic() + PATIENCE
        while left := named(self.nodes, *RANKS):
            assert time.monotonic() < until, left
            time.sleep(0.05)


@dataclass(frozen=True)
class Bucket:
    """An S3 server whose gateway may be killed."""

    home: Path
    access: Access
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    """Gateways that were started again."""

    @contextmanager
    def away(self) -> Generator[None]:
        """Meanwhile no port is open there."""
        (gateway,) = [one for one in processes() if one.command.endswith(f"{self.home}/proxy.conf")]
        kill(gateway.pid)
        yield
        settings = PROXY.format(secret=self.access.secret, page=PAGE)
        start("proxy", self.access.port, self.home, settings, self.running)
        wait_for(self.access.port, self.running)


@pytest.fixture(scope="module")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket | None]:
    """Not the session's, as it is killed; for all of the module, as workers have their nodes' environment."""
    if not ENVIRONMENT.exists():
        yield None
        return
    home = tmp_path_factory.mktemp("s3")
    with s3_server(home) as access:
        bucket = Bucket(home, access)
        yield bucket
        for process in bucket.running:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def shared_nodes(bucket_server: Bucket | None) -> Iterator[Cluster]:
    """A head and two nodes that work."""
    more = bucket_server.access.environment if bucket_server else {}
    with cluster(2, **QUICK, **more, MLFLOW_DISABLE_TELEMETRY="true", COLUMNS="300") as made:
        yield made


@pytest.fixture
def nodes(shared_nodes: Cluster) -> Cluster:
    """The same, with as many nodes as in the beginning."""
    await_nodes(shared_nodes)
    return shared_nodes


def await_nodes(nodes: Cluster) -> None:
    """Wait until two nodes are there to work."""
    while len(nodes.nodes) < 3:
        nodes.add(1)
    until = time.monotonic() + PATIENCE
    while len(nodes.workers()) < 2:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.fixture
def settings(settings: RunSettings) -> RunSettings:
    return replace(settings, train=replace(settings.train, steps=STEPS, save_every=SAVE))


@pytest.fixture
def undisturbed(settings: RunSettings, shards: Shards, tmp_path: Path) -> RunSettings:
    """The same run, trained by two ranks without Ray and without any fault."""
    whole = elsewhere(settings, tmp_path / "undisturbed")
    assert train_group(whole, shards, 2) == [0, 0]
    return whole


@pytest.fixture
def run(nodes: Cluster, settings: RunSettings, shards: Shards, run_file: Path) -> Iterator[Run]:
    run = Run(nodes, settings, shards, run_file)
    yield run
    run.kill()


def named(nodes: Cluster, *titles: str) -> list[Process]:
    """The cluster's processes whose title begins so."""
    there = [one for node in nodes.nodes for one in node.processes()]
    return [one for one in there if one.command.startswith(titles)]


def line_of(said: str, word: str) -> str:
    """The one line that has this in it."""
    (line,) = [line for line in said.splitlines() if word in line]
    return line


def tear_newest(layout: Layout) -> tuple[str, int]:
    """Cut the newest checkpoint's weights in half; its name, and the step of the one before."""
    torn, before, *_ = Checkpoints.at(layout.checkpoints).sealed()
    weights = Path(layout.checkpoints) / torn / "model.safetensors"
    os.truncate(weights, weights.stat().st_size // 2)
    return torn, int(before.split("-")[1])


def told_later(server: MlflowServer, perceiver: Command, run_file: Path, options: list[str]) -> list[int]:
    """The steps of the one run's curve, once the server is there and was told."""
    server.start()
    try:
        perceiver("tell", run_file, *options)
        client = mlflow.MlflowClient(server.uri)
        experiments = [one.experiment_id for one in client.search_experiments()]
        found = client.search_runs(experiments)
        (whole,) = [one for one in found if "mlflow.parentRunId" not in one.data.tags]
        return [row.step for row in client.get_metric_history(whole.info.run_id, "train/loss")]
    finally:
        server.kill()


def test_a_worker_the_controller_the_driver_and_the_newest_checkpoint_lost_change_not_one_bit(
    run: Run, undisturbed: RunSettings, perceiver: Command, tmp_path: Path
) -> None:
    """And that without a tracker, which is told in the end."""
    server = MlflowServer(tmp_path / "server")
    tracking = ["--tracking.uri", server.uri]
    options = ["--cluster.workers", "2", *tracking, "--tracking.absent", "spool"]
    mark = tmp_path / "mark"

    run.go(0.1)  # So that a checkpoint is there long before the next is due.
    run.start(*options, fault={"kind": "kill", "rank": 1, "step": 30, "phase": "scored", "mark": str(mark)})
    run.await_attempt(2, SAVE + 5)
    (controller,) = named(run.nodes, CONTROLLER)
    kill(controller.pid)
    run.await_attempt(3, SAVE + 5)
    run.kill()
    torn, before = tear_newest(run.layout)
    run.go(0)
    run.start(*options)

    assert run.ended() == 0, run.said
    first, second, third, fourth = run.accounts
    assert (first.step, fourth.first) == (30, before)
    assert (second.first, second.furthest) == (20, 30)
    assert third.first >= second.first
    assert "with 2 workers, 10 steps are done again" in run.said
    assert torn in line_of(run.said, "passed over a torn checkpoint")
    assert newest(run.settings, run.shards).weights == newest(undisturbed, run.shards).weights
    assert learnt_curves(run.settings, run.shards) == learnt_curves(undisturbed, run.shards)
    assert told_later(server, perceiver, run.run_file, tracking) == list(range(1, STEPS + 1))


def test_a_training_shrinks_and_grows_with_its_nodes(
    run: Run, undisturbed: RunSettings, settings: RunSettings, shards: Shards
) -> None:
    """A node that is drained costs no step; one whose power goes, those since the last checkpoint."""
    run.go(0.2)
    run.start("--cluster.workers", "1", "2", "--cluster.resize-seconds", "2")
    run.await_attempt(1, 10)
    drained = run.nodes.nodes[-1]
    drained.process.terminate()
    run.await_attempt(2, 1)
    run.nodes.kill(drained)
    run.go(1.0)
    await_nodes(run.nodes)
    run.await_attempt(3, 5)
    run.nodes.kill(run.nodes.nodes[-1])
    run.await_attempt(4, 1)
    run.go(0)

    assert run.ended() == 0, run.said
    first, second, third, fourth = run.accounts[:4]
    assert [one.workers for one in (first, second, third, fourth)] == [2, 1, 2, 1]
    assert second.first == first.step
    assert "the machines are taken away" in run.said
    assert_close(learnt_curves(settings, shards), learnt_curves(undisturbed, shards))


def assert_close(found: dict[str, Curve], expected: dict[str, Curve]) -> None:
    """The same steps, each once; values alike but for sums whose terms came in another order."""
    assert {name: [step for step, _ in curve] for name, curve in found.items()} == {
        name: [step for step, _ in curve] for name, curve in expected.items()
    }
    for name in ("train/loss", "val/loss"):
        worst = max(abs(one[1] - other[1]) for one, other in zip(found[name], expected[name], strict=True))
        assert worst < BOUND, (name, worst)


def test_a_command_that_is_asked_to_stop_saves_and_ends_and_the_next_one_goes_on(
    run: Run, undisturbed: RunSettings
) -> None:
    options = ["--cluster.workers", "2"]
    for number, asked in enumerate((signal.SIGTERM, signal.SIGINT), 1):
        run.start(*options)
        run.await_attempt(number, 10)
        run.process.send_signal(asked)
        assert run.ended() == 1, run.said
        assert f"{asked.name}: a checkpoint is taken, then it stops" in run.said
    run.go(0)
    run.start_command(*options)

    assert run.ended() == 0, run.said
    assert run.said.count("steps are saved") == 2
    assert sum(one.steps_redone for one in run.accounts) == 0
    first, second, third = run.accounts
    assert (second.first, third.first) == (first.step, second.step)
    assert newest(run.settings, run.shards).weights == newest(undisturbed, run.shards).weights
    assert learnt_curves(run.settings, run.shards) == learnt_curves(undisturbed, run.shards)


@pytest.mark.s3
def test_a_bucket_that_is_away_for_a_while_and_a_worker_that_dies_meanwhile_cost_only_time(
    run: Run,
    undisturbed: RunSettings,
    bucket_server: Bucket | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not bucket_server:
        pytest.skip(
            f"{ENVIRONMENT} is not there: `make .venv/s3/installed` makes the S3 server's environment"
        )
    for name, value in bucket_server.access.environment.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="faults")
    settings = replace(run.settings, checkpoints="s3://faults/checkpoints")
    mark = tmp_path / "mark"
    fault = {"kind": "kill", "rank": 1, "step": 45, "phase": "scored", "mark": str(mark)}

    checkpoints = Checkpoints.at(Layout.of(settings, run.shards.digest).checkpoints)
    run.go(0.3)  # So that the first checkpoint is there long before the second is due.
    run.start("--cluster.workers", "2", "--checkpoints", settings.checkpoints, fault=fault)
    run.until(checkpoints.sealed)
    with bucket_server.away():
        run.until(mark.exists)
        time.sleep(AWAY_SECONDS)
    run.go(0)

    assert run.ended() == 0, run.said
    assert [(one.first, one.step) for one in run.accounts] == [(0, 45), (20, STEPS)]
    assert newest(settings, run.shards).weights == newest(undisturbed, run.shards).weights
    assert learnt_curves(settings, run.shards) == learnt_curves(undisturbed, run.shards)
