"""The data job between buckets ends by itself with the same bytes, whatever the wire and the server do."""

import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_wire import FINE, SLOW_DOWN, Fault, FaultyWire
from in_buckets import contents, in_a_thread, listed, upload, uploads
from making import pictures, settings
from s3_server import Access

from cluster.mistake import UserError
from cluster.s3 import Patience
from cluster.storage import store
from preprocessing.job import Task
from preprocessing.settings import DataSettings

pytestmark = pytest.mark.s3

SHARES = {"val": 0.2, "test": 0.2}
Faults = Callable[[int, str, str], Fault]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw folder that makes five shards."""
    return pictures(tmp_path_factory.mktemp("wire") / "raw", 20)


@pytest.fixture(scope="module")
def whole(root: Path) -> dict[str, str]:
    """What an undisturbed job makes of it, in a folder."""
    in_a_thread(settings(root, **SHARES), str(root.parent / "whole"))
    return contents(str(root.parent / "whole"))


@pytest.fixture
def asked(bucket: str, root: Path) -> DataSettings:
    """The same in a bucket."""
    return settings(Path("of"), raw=upload(root, f"s3://{bucket}/raw"), **SHARES)


@pytest.fixture
def through(s3_access: Access, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Leads all requests through a wire with these faults."""
    wires: list[Any] = []

    def lay(fault: Faults) -> FaultyWire:
        wire = FaultyWire(s3_access.port, fault)
        wires.append(wire.open())
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{wires[-1].__enter__()}")
        return wire

    yield lay
    for wire in wires:
        wire.__exit__(None, None, None)


def every_few(seed: int) -> Faults:
    """Each fifth request or so meets a fault of some kind."""
    chance = random.Random(seed)

    def fault(number: int, method: str, path: str) -> Fault:
        kinds = [
            SLOW_DOWN,
            Fault(lose_answer=True),
            Fault(cut_request=chance.randrange(1000)),
            Fault(cut_response=chance.randrange(1000)),
        ]
        return chance.choice(kinds) if chance.random() < 0.2 else FINE

    return fault


def test_a_wire_that_cuts_loses_and_slows_down_changes_no_byte(
    asked: DataSettings, bucket: str, whole: dict[str, str], through: Callable[..., Any]
) -> None:
    seed = random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  shown where the test fails
    wire = through(every_few(seed))

    shards, _ = in_a_thread(asked, f"s3://{bucket}/shards")

    assert contents(f"s3://{bucket}/shards") == whole
    assert sum(shards.counts.values()) == 40
    assert len(wire.requests) > 100
    assert uploads(bucket) == []


def test_a_server_that_is_away_for_seconds_in_the_middle_changes_no_byte(
    asked: DataSettings, bucket: str, whole: dict[str, str], through: Callable[..., Any]
) -> None:
    wire = through(lambda *_: FINE)
    back: list[Any] = []

    def interrupted(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        for at, name in enumerate(names):
            if at == 2:
                back.append(wire.away(2.0))
            yield task(name)

    in_a_thread(asked, f"s3://{bucket}/shards", interrupted)

    back[0].join()
    assert contents(f"s3://{bucket}/shards") == whole


def test_a_server_that_stays_away_stops_the_job_and_the_next_goes_on(
    asked: DataSettings,
    bucket: str,
    whole: dict[str, str],
    through: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire, place = through(lambda *_: FINE), f"s3://{bucket}/shards"
    monkeypatch.setitem(Patience.__init__.__kwdefaults__, "seconds", 1.0)
    back: list[Any] = []

    def abandoned(task: Task, names: list[str]) -> Iterator[dict[str, Any]]:
        for at, name in enumerate(names):
            if at == 3:
                back.append(wire.away(3.0))
            yield task(name)

    with pytest.raises(
        UserError, match=r"has not answered for 1 s .*Run again then; what is finished is kept"
    ):
        in_a_thread(asked, place, abandoned)
    back[0].join()
    finished = {name: one for name, one in listed(place).items() if name.endswith(".tar")}
    wire.requests.clear()
    in_a_thread(asked, place)

    assert len(finished) == 3
    assert contents(place) == whole
    written = [line for line in wire.requests if line.startswith("PUT") and ".tar" in line]
    assert len(written) == len([name for name in whole if name.endswith(".tar")]) - 3
    assert not any(name in line for name in finished for line in written)


def test_a_job_killed_at_any_moment_ends_with_the_same_bytes_and_leaves_nothing(
    asked: DataSettings, bucket: str, whole: dict[str, str]
) -> None:
    import boto3

    place, seed = f"s3://{bucket}/shards", random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201  shown where the test fails
    chance = random.Random(seed)
    for lines in (1, 2, 4):
        command = [sys.executable, "-c", BUILD, asked.raw, place, str(Path(__file__).parent)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert child.stdout is not None
        with child.stdout:
            # On a quick machine the earlier ones have left few shards to build, or none.
            for _ in range(lines):
                if child.stdout.readline() == b"all are built\n":
                    break
            time.sleep(chance.uniform(0, 0.3))
            child.kill()
        child.wait()
    assert "manifest.json" not in listed(place)
    for key in ("shards/train-g0000-00002-000000000000.tar", "shards/another's.tar", "another's"):
        boto3.client("s3").create_multipart_upload(Bucket=bucket, Key=key)
    store(place).write(".work/train-g0000-00000-000000000000.plan.json", b"of another plan")
    store(place).write("train-g0000-00000-000000000000.tar", b"a shard of another plan")
    store(place).write("train-g0000-00001-000000000000.tar", b"a file that no plan names")

    in_a_thread(asked, place)

    there = contents(place)
    assert there.pop("train-g0000-00001-000000000000.tar")
    assert there == whole
    assert sorted(one["Key"] for one in uploads(bucket)) == ["another's", "shards/another's.tar"]


BUILD = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[3], str(Path(sys.argv[3]).parents[1])]
import making
from preprocessing.job import shard_with
asked = making.settings(Path("of"), raw=sys.argv[1], val=0.2, test=0.2)
# It never commits: however fast it is, the kill comes before.
def sealing():
    print("all are built", flush=True)
    time.sleep(600)

shard_with(map, asked, sys.argv[2], lambda done, total: print(done, flush=True), sealing)
"""
