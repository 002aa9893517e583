"""The workflow on two nodes, a bucket and PostgreSQL: whatever is killed, it ends in the same champion.

PERCEIVER_TEST_KILLS says how many kills there are (2); the seed of their moments is printed.
"""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mlflow
import numpy as np
import pytest
from kills import kills
from mlflow_server import MlflowServer
from postgres_server import postgres_server
from ray_nodes import ROOT, Cluster, cluster, kill, processes
from s3_server import Access
from small_runs import MODEL, Command, draw_pictures

from cluster.storage import store

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.s3,
    pytest.mark.long,
    pytest.mark.timeout(3000),
    # MLflow's own import warns of its own type hints, in the first test of a process that loads a model.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

KILLS = kills(2)
PATIENCE = 240  # Seconds after which what does not come will not.
STEPS = 3000
LONGEST = 45.0  # Seconds of a run in which a kill may come.
QUICK = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
}
RUN = """
name = "{name}"
workspace = "{home}/{name}"
checkpoints = "s3://{bucket}/{name}/trained"
[data]
raw = "s3://{bucket}/raw"
shards = "s3://{bucket}/{name}/shards"
modalities = ["image"]
shard_size = 100
val = 0.1
test = 0.3
{model}[train]
steps = {steps}
batch = 24
rate = 3e-3
save_every = 300
evaluate_every = 1500
[cluster]
cpus_per_worker = 1
[tracking]
uri = "{tracking}"
"""


@dataclass
class World:
    """All that a team has: nodes, a bucket, a tracking server."""

    nodes: Cluster
    server: MlflowServer
    bucket: str
    home: Path
    perceiver: Command
    following: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def write(self, name: str) -> Path:
        """The run file of a run of this name."""
        path = self.home / f"{name}.toml"
        text = RUN.format(
            name=name, home=self.home, bucket=self.bucket, tracking=self.server.uri, model=MODEL, steps=STEPS
        )
        path.write_text(text)
        return path

    def submit(self, run_file: Path) -> "subprocess.Popen[bytes]":
        """Send the run and follow it, in a process of its own."""
        words = [
            "-m",
            "pipelines",
            "submit",
            run_file,
            "--cluster.address",
            self.nodes.job_server,
            "--follow",
        ]
        with run_file.with_suffix(".log").open("ab") as log:
            self.following.append(
                subprocess.Popen(
                    [sys.executable, *map(str, words)], stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                    cwd=ROOT, env={**os.environ, **self.nodes.environment},
                )
            )  # fmt: skip
        return self.following[-1]

    def champion(self, name: str) -> dict[str, object]:
        """What is the champion, and the curves of its run."""
        client = mlflow.MlflowClient(self.server.uri)
        version = client.get_model_version_by_alias(name, "champion")
        history = client.get_registered_model(name).tags
        curves = {
            metric: [(one.step, one.value) for one in client.get_metric_history(version.run_id, metric)]
            for metric in ("train/loss", "train/accuracy", "val/loss", "val/accuracy")
        }
        return {
            "weights": version.tags["weights"], "curves": curves,
            "moves": [tag for tag in history if tag.startswith("champion.")],
        }  # fmt: skip


@pytest.fixture(scope="module")
def world(s3_access: Access, tmp_path_factory: pytest.TempPathFactory, perceiver: Command) -> Iterator[World]:
    home = tmp_path_factory.mktemp("world")
    # A job runs the Python that its node finds first.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with (
        pytest.MonkeyPatch.context() as patch,
        postgres_server() as uri,
        cluster(2, dashboard=True, PATH=path, **s3_access.environment, **QUICK) as nodes,
    ):
        bucket = s3_access.new_bucket(patch)
        raw = store(f"s3://{bucket}/raw")
        for picture in draw_pictures(home / "drawn", per_class=150).rglob("*.png"):
            raw.write(picture.relative_to(home / "drawn").as_posix(), picture.read_bytes())
        server = MlflowServer(home / "server", store=uri, artifacts=f"s3://{bucket}/mlflow")
        server.start()
        made = World(nodes, server, bucket, home, perceiver)
        try:
            yield made
        finally:
            for process in made.following:
                process.kill()
                process.wait()
            server.kill()


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, object]:
    """The champion of a run that nothing happens to."""
    carried_through(world, "undisturbed", iter(()), random.Random(0))
    return world.champion("undisturbed")


def of_the_job(world: World, *words: str) -> list[int]:
    """Processes of the cluster whose command has one of these words in it."""
    marks = {node.mark for node in world.nodes.nodes}
    found = {one.pid: one for node in world.nodes.nodes for one in node.processes()}
    return [
        one.pid
        for one in {**found, **{one.pid: one for one in processes() if one.marked in marks}}.values()
        if any(word in one.command for word in words)
    ]


def killed(world: World, *words: str) -> bool:
    """Whether there was such a process."""
    found = of_the_job(world, *words)
    for pid in found:
        kill(pid)
    return bool(found)


def strike_driver(world: World, chance: random.Random) -> bool:
    return killed(world, "pipelines run run.toml")


def strike_supervisor(world: World, chance: random.Random) -> bool:
    return killed(world, "JobSupervisor")


def strike_rank(world: World, chance: random.Random) -> bool:
    return killed(world, "RayTrainWorker", "TrainController")


def strike_node(world: World, chance: random.Random) -> bool:
    """Its power goes; another one comes."""
    world.nodes.kill(chance.choice(world.nodes.nodes[1:]))
    world.nodes.add(1)
    return True


def strike_tracker(world: World, chance: random.Random) -> bool:
    """It is away for a while."""
    world.server.kill()
    time.sleep(chance.uniform(0, 8))
    world.server.start()
    return True


STRIKES: list[Callable[[World, random.Random], bool]] = [
    strike_driver, strike_supervisor, strike_rank, strike_node, strike_tracker,
]  # fmt: skip


def ended(process: "subprocess.Popen[bytes]", log: Path) -> int:
    try:
        return process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        raise AssertionError(log.read_text()) from None


def carried_through(
    world: World, name: str, strikes: Iterator[tuple[float, str]], chance: random.Random
) -> int:
    """Submit the run again and again while it is struck, until it has succeeded; the strikes it took."""
    run_file, took, by_name = world.write(name), 0, {one.__name__: one for one in STRIKES}
    log = run_file.with_suffix(".log")
    for _ in range(2 * KILLS + 5):
        process = world.submit(run_file)
        strike = next(strikes, None)
        if strike:
            moment, what = strike
            until, hit = time.monotonic() + moment, False
            # What is to be struck may not have begun yet, or be over.
            while process.poll() is None and not hit:
                time.sleep(0.05)
                hit = time.monotonic() > until and by_name[what](world, chance)
            if hit:
                took += 1
                with log.open("a") as said:
                    said.write(f"*** {what} after {time.monotonic() - until + moment:.1f} s\n")
        if ended(process, log) == 0:
            return took
    raise AssertionError(log.read_text())


def test_whatever_is_killed_the_same_model_becomes_champion(
    world: World, undisturbed: dict[str, object], chance: random.Random
) -> None:
    left, number = KILLS, 0

    while left > 0:
        number += 1
        name = f"disturbed-{number}"
        strikes = [(chance.uniform(2, LONGEST), chance.choice(STRIKES).__name__) for _ in range(left)]
        sys.stdout.write(f"{name}: {strikes}\n")
        left -= carried_through(world, name, iter(strikes), chance)
        assert number <= 2 * KILLS

        said = (world.home / f"{name}.log").read_text()
        world.perceiver("tell", world.home / f"{name}.toml")
        assert world.champion(name) == undisturbed, said
        assert "Traceback" not in said

    wait_until(lambda: not of_the_job(world, "RayTrainWorker", "TrainController", "pipelines run"))


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.2)


def test_all_of_a_run_is_on_postgresql_and_in_the_bucket_and_its_model_comes_out_of_it(
    world: World, undisturbed: dict[str, object]
) -> None:
    losses = [step for step, _ in undisturbed["curves"]["train/loss"]]
    assert losses == sorted(set(losses))
    assert losses[-1] == STEPS
    assert not list((world.home / "server").rglob("model.safetensors"))
    files = store(f"s3://{world.bucket}/mlflow").list()
    assert any(one.name.endswith("model.safetensors") for one in files)

    mlflow.set_tracking_uri(world.server.uri)
    model = mlflow.pyfunc.load_model("models:/undisturbed@champion")
    answer = model.predict({"image": np.zeros((1, 8, 8, 3), np.uint8)})

    assert answer["class"].iloc[0].startswith("column-")


@pytest.fixture
def more(world: World) -> Iterator[None]:
    """1 % more raw files, for the time of a test."""
    raw = store(f"s3://{world.bucket}/raw")
    names: list[str] = []
    for path in draw_pictures(world.home / "more", per_class=2, seed=1).rglob("*.png"):
        names.append(f"{path.parent.name}/new-{path.name}")
        raw.write(names[-1], path.read_bytes())
    yield
    for name in names:
        raw.remove(name)


def test_new_data_is_trained_on_at_the_next_tick_from_the_champion(
    world: World, undisturbed: dict[str, object], more: None
) -> None:
    run_file, env = world.home / "undisturbed.toml", world.nodes.environment
    client = mlflow.MlflowClient(world.server.uri)
    first = client.get_model_version_by_alias("undisturbed", "champion")
    address = ["--cluster.address", world.nodes.job_server]
    words = ["schedule", "add", run_file, "--cron", "0 0 1 1 *", "--warm-start", "champion", *address]
    world.perceiver(*words, env=env)
    workspace = ["--workspace", str(world.home / "undisturbed")]
    with (world.home / "clock.log").open("wb") as said:
        clock = subprocess.Popen(
            [sys.executable, "-m", "pipelines", "schedule", "start", *workspace],
            stdout=said, stderr=said, cwd=ROOT, env={**os.environ, **env},
        )  # fmt: skip
    world.following.append(clock)

    def tick() -> dict[str, object]:
        world.perceiver("schedule", "run-now", *workspace, env=env)
        before = account(world)
        wait_until(lambda: account(world) != before and account(world)["result"] != "running")
        return account(world)

    grown, idle = tick(), tick()

    told = (world.home / "clock.log").read_text()
    assert (grown["result"], idle["result"]) == ("done", "done"), told
    candidate = client.get_model_version_by_alias("undisturbed", "candidate")
    assert int(candidate.version) == int(first.version) + 1
    assert candidate.tags["warm_start"].startswith("undisturbed/1"), candidate.tags
    assert candidate.tags["gate.decision"] in ("promoted", "refused")
    assert candidate.tags["gate.champion"] == str(first.version)
    assert candidate.tags["shards"] != first.tags["shards"]


def account(world: World) -> dict[str, object]:
    """What the clock has written of the last run."""
    path = world.home / "undisturbed" / "schedules" / "undisturbed" / "account.json"
    return json.loads(path.read_text()) if path.exists() else {}
