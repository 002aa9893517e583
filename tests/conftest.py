"""What several rooms' tests stand on: small raw folders, shards without Ray, one Ray for all, the command."""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from s3_server import ENVIRONMENT, Access, s3_server
from small_runs import MODEL, Command, draw_pictures

from cluster.settings import ClusterSettings
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings
from pipelines.settings import RunSettings
from preprocessing.job import shard_with
from preprocessing.settings import DataSettings, ImageSettings
from preprocessing.shards import Shards

pytest.register_assert_rewrite("shard_cases")  # So that it says what differs.

ROOT = Path(__file__).parent.parent

# Two tests run at once on two cores, each with processes of its own. A thread that spins while it waits for
# another (GNU OpenMP's way) keeps a core from whom it waits for: two of one training took 20 times as long
# beside other work. And Ray's workers would give way to everybody (nice 15).
# MLflow's server would start four processes.
os.environ |= {"OMP_WAIT_POLICY": "PASSIVE", "RAY_worker_niceness": "0", "MLFLOW_WORKERS": "1"}

# In the background a shell has SIGINT ignored, and whatever the tests start would ignore it too.
signal.signal(signal.SIGINT, signal.default_int_handler)

# By default hypothesis fails an example that takes 0.2 s: on a busy machine any does.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with long tests first: pytest-xdist hands them out in this order."""
    long = {item.path for item in items if item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A raw folder of 72 pictures in three classes that a tiny model tells apart."""
    return draw_pictures(tmp_path / "raw")


@pytest.fixture
def settings(tmp_path: Path, pictures: Path) -> RunSettings:
    """A run that trains in a second."""
    return RunSettings(
        name="columns",
        workspace=str(tmp_path / "work"),
        data=DataSettings(
            raw=str(pictures),
            modalities=("image",),
            shard_size=16,
            val=0.2,
            test=0.2,
            image=ImageSettings(size=8),
        ),
        model=ModelSettings(latents=4, width=16, heads=2, blocks=2, layers=1, bands=2),
        train=TrainSettings(steps=12, batch=12, rate=3e-3, save_every=4, evaluate_every=6, ema=0.9),
        cluster=ClusterSettings(cpus_per_worker=1),
    )


@pytest.fixture
def run_file(tmp_path: Path, settings: RunSettings) -> Path:
    """The same run as a TOML file."""
    path = tmp_path / "run.toml"
    path.write_text(f"""
name = "columns"
workspace = "{settings.workspace}"
[data]
raw = "{settings.data.raw}"
modalities = ["image"]
shard_size = 16
val = 0.2
test = 0.2
{MODEL}[train]
steps = 12
batch = 12
rate = 3e-3
save_every = 4
evaluate_every = 6
ema = 0.9
[cluster]
cpus_per_worker = 1
""")
    return path


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests."""
    import ray

    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        ray.init(
            "local",
            num_cpus=2,
            include_dashboard=False,
            _temp_dir=scratch,
            log_to_driver=False,
            logging_level="ERROR",
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="session")
def perceiver() -> Command:
    """The command line in a process of its own, with wide lines."""

    def run(*words: str | Path, check: bool = True, env: dict[str, str] | None = None) -> Any:
        environment = {**os.environ, "COLUMNS": "300", "MLFLOW_DISABLE_TELEMETRY": "true", **(env or {})}
        command = [sys.executable, "-m", "pipelines", *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False)
        if check and done.returncode:
            raise AssertionError(f"status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def real_data(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Unpacks one of the real sets."""
    source = os.environ.get("PERCEIVER_TEST_DATA")
    if not source:
        pytest.skip("PERCEIVER_TEST_DATA is not set: it names the folder of the real sets' .tar.xz")
    folder = tmp_path_factory.mktemp("real")

    def unpack(archive: str) -> Path:
        path = Path(source) / f"{archive}.tar.xz"
        if not path.exists():
            pytest.skip(f"{path.name} is not in PERCEIVER_TEST_DATA")
        subprocess.run(["tar", "xJf", str(path), "-C", str(folder)], check=True)
        return folder

    return unpack


@pytest.fixture
def shards(settings: RunSettings) -> Shards:
    """The shards of the small run, built in this process."""

    return shard_with(map, settings.data, settings.shards, lambda done, total: None)[0]


@pytest.fixture
def chance() -> random.Random:
    """The test's random numbers; their seed stands in its output."""
    seed = int(os.environ.get("PERCEIVER_TEST_SEED") or random.SystemRandom().randrange(2**32))
    sys.stdout.write(f"PERCEIVER_TEST_SEED={seed}\n")
    return random.Random(seed)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Threads of small operations wait for each other longer than they work."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def own_tracking_store() -> Iterator[None]:
    """mlflow.set_tracking_uri writes the environment, which every later command would inherit."""
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    yield
    os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def s3_access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A real S3 server, for all tests."""
    if not ENVIRONMENT.exists():
        pytest.skip(
            f"{ENVIRONMENT} is not there: `make .venv/s3/installed` makes the S3 server's environment"
        )
    with s3_server(tmp_path_factory.mktemp("s3")) as access:
        yield access


@pytest.fixture
def bucket(s3_access: Access, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket's name, on a server that the usual variables point at."""
    return s3_access.new_bucket(monkeypatch)
