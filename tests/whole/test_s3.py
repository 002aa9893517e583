"""Raw files, shards and checkpoints in a bucket: a whole run, commands that read shards, and mistakes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from ports import free_port
from s3_server import Access
from small_runs import Command

from cluster.storage import store
from pipelines.settings import RunSettings
from pipelines.training.checkpoints import Checkpoints
from preprocessing.job import shard_with
from preprocessing.shards import Shards

pytestmark = [pytest.mark.s3, pytest.mark.whole]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def places(bucket: str) -> list[str]:
    """Options that put the small run's raw files and shards into a bucket."""
    return ["--data.raw", f"s3://{bucket}/raw of it", "--data.shards", f"s3://{bucket}/shards/"]


@pytest.fixture(scope="module")
def nobody(s3_access: Access, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[str]]]:
    """Commands on a bucket whose server is away: they take their patience while other tests run."""
    home = tmp_path_factory.mktemp("nobody")
    (home / "run.toml").write_text(
        f'name = "a"\nworkspace = "{home}/work"\n[data]\nraw = "s3://away/raw"\nshards = "s3://away/shards"\n'
    )
    away = s3_access.through(free_port()).environment
    running: dict[str, subprocess.Popen[str]] = {}
    for command, place in {"show": "run.toml", "shard": "run.toml", "verify": "s3://away/shards"}.items():
        running[command] = subprocess.Popen(
            [sys.executable, "-m", "pipelines", command, str(home / place) if place == "run.toml" else place],
            stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **away},
        )  # fmt: skip
    yield running
    for process in running.values():
        process.kill()
        process.communicate()


@pytest.mark.ray
@pytest.mark.usefixtures("nobody")
def test_a_run_takes_its_raw_files_from_a_bucket_and_keeps_shards_and_checkpoints_there(
    perceiver: Command, run_file: Path, places: list[str], settings: RunSettings, bucket: str
) -> None:
    copies = run_file.parent / "copies"
    raw = store(f"s3://{bucket}/raw of it")
    with ThreadPoolExecutor(8) as pool:
        for path in Path(settings.data.raw).rglob("*.png"):
            pool.submit(raw.write, path.relative_to(settings.data.raw).as_posix(), path.read_bytes())
    places = [*places, "--data.cache", str(copies), "--checkpoints", f"s3://{bucket}/trained/"]

    done = perceiver("run", run_file, *places, "--json")
    again = perceiver("run", run_file, *places, "--json")

    assert json.loads(done.stdout)["version"] == 1
    assert json.loads(again.stdout) == {**json.loads(done.stdout), "ran": []}
    for stage in ("shard", "train", "evaluate", "register", "promote"):
        assert f"{stage}: up to date" in again.stderr
    local, _ = shard_with(map, settings.data, settings.shards, lambda *_: None)
    assert Shards.open(f"s3://{bucket}/shards").digest == local.digest
    checkpoints = Checkpoints.at(f"s3://{bucket}/trained/{local.digest[:12]}/checkpoints")
    newest, torn = checkpoints.newest()
    assert (newest and newest.step, torn) == (12, [])
    assert not [*Path(settings.workspace).glob("trainings/*/checkpoints")]
    assert len([*copies.glob("*.tar")]) == sum(1 for _ in local.tars)


def test_shards_in_a_bucket_are_verified_and_inspected_by_their_uri(
    perceiver: Command, settings: RunSettings, bucket: str, tmp_path: Path
) -> None:
    place = f"s3://{bucket}/shards"
    local, _ = shard_with(map, settings.data, settings.shards, lambda *_: None)
    for one in store(settings.shards).list():
        store(place).write(one.name, store(settings.shards).read(one.name))

    good = perceiver("verify", f"{place}/", "--json")
    seen = perceiver("inspect", place, "--sheet", tmp_path / "sheet.png", "--json")
    damaged = [tar.name for tar in local.tars][1]
    store(place).write(damaged, store(place).read(damaged)[:-1])
    bad = perceiver("verify", place, check=False)

    assert json.loads(good.stdout)["digest"] == json.loads(seen.stdout)["digest"] == local.digest
    assert json.loads(seen.stdout)["samples"] == local.counts
    assert (tmp_path / "sheet.png").stat().st_size > 1000
    assert bad.returncode == 1
    assert damaged in bad.stderr


@pytest.mark.parametrize("command", ["show", "shard"])
@pytest.mark.parametrize("missing", ["raw", "shards"])
def test_a_missing_bucket_is_named_before_anything_is_done(
    perceiver: Command, run_file: Path, places: list[str], command: str, missing: str
) -> None:
    done = perceiver(command, run_file, *places, f"--data.{missing}", "s3://not-there/x", check=False)

    assert done.returncode == 2, done.stderr
    assert "s3://not-there at http://127.0.0.1" in done.stderr
    assert "There is no such bucket: create it there, or name another." in done.stderr
    assert "Traceback" not in done.stderr
    assert "shard:" not in done.stderr


@pytest.mark.parametrize("command", ["show", "shard"])
@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "The secret does not belong to the access key"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "no credentials were found"),
    ],
)
def test_wrong_credentials_are_told_with_what_to_mend(
    perceiver: Command,
    run_file: Path,
    places: list[str],
    command: str,
    environment: dict[str, str],
    said: str,
) -> None:
    done = perceiver(command, run_file, *places, check=False, env=environment)

    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "AWS_SECRET_ACCESS_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["show", "shard", "verify"])
def test_a_server_that_is_away_is_told_when_the_patience_is_over(
    nobody: dict[str, "subprocess.Popen[str]"], command: str
) -> None:
    _, said = nobody[command].communicate(timeout=120)

    assert nobody[command].returncode == 1, said
    assert "has not answered for 45 s" in said
    assert "Is the server up, and is AWS_ENDPOINT_URL right?" in said
    assert "Traceback" not in said
