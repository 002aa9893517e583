"""The workflow on two nodes, a bucket and PostgreSQL: whatever is killed, it ends in the same champion.

PERCEIVER_TEST_KILLS says how many kills there are (2); the seed of their moments is printed.
"""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import boto3
import mlflow
import numpy as np
import pytest
from clocks import account, over
from kills import kills
from mlflow_server import MlflowServer
from postgres_server import postgres_server
from ray_nodes import cluster, kill, processes
from s3_server import Access
from senders import PATIENCE, STEPS, ByClock, ByHand, World
from small_runs import Command, draw_pictures
from waiting import wait_until

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
DRIVER, SUPERVISOR, RANK = (" -m pipelines run ",), ("JobSupervisor",), ("RayTrainWorker", "TrainController")
LONGEST = 45.0  # Seconds of a run in which a kill may come.
QUICK = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "15",
}


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
            for process in made.begun:
                process.kill()
                process.wait()
            server.kill()


@pytest.fixture(scope="module")
def undisturbed(world: World) -> dict[str, object]:
    """The champion of a run that nothing happens to."""
    sender, seen = ByHand(world, "undisturbed"), set[tuple[str, ...]]()
    while sender.goes_on():
        seen |= {words for words in (DRIVER, SUPERVISOR, RANK) if of_the_job(world, *words)}
        time.sleep(0.5)
    assert len(seen) == 3, "what is to be struck is called otherwise now"
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


def strike_driver(sender: ByHand, chance: random.Random) -> bool:
    return killed(sender.world, *DRIVER)


def strike_supervisor(sender: ByHand, chance: random.Random) -> bool:
    return killed(sender.world, *SUPERVISOR)


def strike_rank(sender: ByHand, chance: random.Random) -> bool:
    return killed(sender.world, *RANK)


def strike_node(sender: ByHand, chance: random.Random) -> bool:
    """Its power goes; another one comes."""
    nodes = sender.world.nodes
    nodes.kill(chance.choice(nodes.nodes[1:]))
    nodes.add(1)
    return True


def strike_tracker(sender: ByHand, chance: random.Random) -> bool:
    """It is away for a while."""
    sender.world.server.kill()
    time.sleep(chance.uniform(0, 8))
    sender.world.server.start()
    return True


def strike_sender(sender: ByHand, chance: random.Random) -> bool:
    """Who has sent it: the one that follows it, or the clock."""
    return sender.strike(chance)


STRIKES: list[Callable[[ByHand, random.Random], bool]] = [
    strike_driver, strike_supervisor, strike_rank, strike_node, strike_tracker, strike_sender,
]  # fmt: skip
BY_NAME = {strike.__name__: strike for strike in STRIKES}


def carried_through(sender: ByHand, strikes: Iterator[tuple[float, str]], chance: random.Random) -> int:
    """Strike the run so many seconds after the strike before, until it has succeeded; the strikes it took."""
    since, took, strike = time.monotonic(), 0, next(strikes, None)
    while sender.goes_on():
        time.sleep(0.05)
        passed = time.monotonic() - since
        assert passed < 2 * PATIENCE, sender.said
        # What is to be struck may not have begun yet, or be over.
        if strike and passed > strike[0] and BY_NAME[strike[1]](sender, chance):
            with sender.log.open("a") as said:
                said.write(f"*** {strike[1]} after {passed:.1f} s\n")
            since, took, strike = time.monotonic(), took + 1, next(strikes, None)
    return took


def test_whatever_is_killed_the_same_model_becomes_champion(
    world: World, undisturbed: dict[str, object], chance: random.Random
) -> None:
    left, number, senders = KILLS, 0, chance.sample((ByHand, ByClock), 2)

    while left > 0:
        number += 1
        by = senders[number % 2]
        name = f"disturbed-{number}"
        strikes = [(chance.uniform(2, LONGEST), chance.choice(STRIKES).__name__) for _ in range(left)]
        sys.stdout.write(f"{name}: {by.__name__} {strikes}\n")
        sender = by(world, name)
        left -= carried_through(sender, iter(strikes), chance)
        assert number <= 10 * KILLS, "most runs end before their strike"

        world.perceiver("tell", sender.run_file)
        assert world.champion(name) == undisturbed, sender.said
        assert "Traceback" not in sender.said

    wait_until(lambda: not of_the_job(world, *RANK, *DRIVER), pause=0.2)
    assert left_behind(world) == []


def left_behind(world: World) -> list[str]:
    """What nobody will end any more."""
    client = mlflow.MlflowClient(world.server.uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    running = client.search_runs(experiments, "attributes.status = 'RUNNING'")
    uploads = boto3.client("s3").list_multipart_uploads(Bucket=world.bucket).get("Uploads", [])
    return [*(one.info.run_name or "" for one in running), *(one.get("Key", "") for one in uploads)]


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
    home = world.home / "undisturbed"
    world.begin(world.home / "clock.log", "schedule", "start", "--workspace", home)

    def tick() -> str:
        before = account(home, "undisturbed")
        world.perceiver("schedule", "run-now", "--workspace", home, env=env)
        wait_until(
            lambda: account(home, "undisturbed").tick != before.tick and over(home, "undisturbed"),
            seconds=900,
        )  # fmt: skip
        return account(home, "undisturbed").result

    grown, idle = tick(), tick()

    told = (world.home / "clock.log").read_text()
    assert (grown, idle) == ("done", "done"), told
    candidate = client.get_model_version_by_alias("undisturbed", "candidate")
    assert int(candidate.version) == int(first.version) + 1
    assert candidate.tags["warm_start"].startswith("undisturbed/1"), candidate.tags
    assert candidate.tags["gate.decision"] in ("promoted", "refused")
    assert candidate.tags["gate.champion"] == str(first.version)
    assert candidate.tags["shards"] != first.tags["shards"]
