"""Attempts have numbers of their own, and a newer one fences off the older, also one that was frozen."""

import os
import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from faulty_wire import FINE, Fault, FaultyWire
from s3_server import Access
from saving_driver import RECORD, is_unmixed, lines, start, tensors_of

from cluster.storage import untouched
from pipelines.attempts import Attempts
from pipelines.training.checkpoints import Checkpoint, Checkpoints, OvertakenError, TornError

SECONDS = 120


def test_each_claim_gives_a_greater_number(place: str) -> None:
    attempts = [Checkpoints.at(place).claim() for _ in range(3)]

    assert attempts == [1, 2, 3]


def test_claims_at_the_same_moment_give_different_numbers(place: str) -> None:
    claims = Attempts(untouched(place))

    for _ in range(5):
        before = claims.newest()
        with ThreadPoolExecutor(4) as pool:
            numbers = list(pool.map(lambda _: claims.claim(), range(4)))

        assert len(set(numbers)) == 4
        assert min(numbers) > before
    assert claims.newest() == max(numbers)


@pytest.mark.s3
def test_a_number_that_the_server_gave_to_two_is_kept_by_neither_that_sees_it(
    bucket: str, s3_access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    rival = "a0001-token of another writer"
    direct = f"s3://{bucket}/claims"

    def meanwhile(number: int, method: str, path: str) -> Fault:
        if method == "PUT" and "/a0001-" in path and "token" not in path:
            put(s3_access, bucket, f"claims/{rival}")
        return FINE

    with FaultyWire(s3_access.port, meanwhile).open() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        claimed = Attempts(untouched(direct)).claim()

    assert claimed == 2


def put(access: Access, bucket: str, key: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=access.url)
    client.put_object(Bucket=bucket, Key=key, Body=b"")


def test_an_attempt_is_overtaken_by_a_newer_one_and_not_by_itself(place: str) -> None:
    checkpoints = Checkpoints.at(place)
    first = checkpoints.claim()
    checkpoints.refuse_overtaken(first)
    second = checkpoints.claim()

    checkpoints.refuse_overtaken(second)
    with pytest.raises(OvertakenError, match="Attempt 2 at this training has begun, so attempt 1 ends"):
        checkpoints.refuse_overtaken(first)


def test_an_overtaken_attempt_saves_and_removes_nothing(place: str) -> None:
    checkpoints = Checkpoints.at(place)
    old = checkpoints.claim()
    kept = [checkpoints.save(old, step, tensors_of(step, old), RECORD) for step in (1, 2)]
    new = checkpoints.claim()
    checkpoints.home.write(f"step-00000003-a{new:04d}/model.safetensors", b"on its way")
    before = {one.name: one.stamp for one in checkpoints.home.list()}

    with pytest.raises(OvertakenError):
        checkpoints.save(old, 3, tensors_of(3, old), RECORD)
    with pytest.raises(OvertakenError):
        checkpoints.retain(kept[0])

    assert {one.name: one.stamp for one in checkpoints.home.list()} == before


@pytest.mark.slow
def test_a_frozen_attempt_that_thaws_is_fenced_off(place: str, tmp_path: Path, chance: random.Random) -> None:
    checkpoints, first = Checkpoints.at(place), 1000
    for thaw in range(4):
        said = tmp_path / f"said-{thaw}"
        older = start(place, said)
        try:
            wait_for(said)
            time.sleep(chance.uniform(0, 0.1))
            freeze(older.pid)
            newer = checkpoints.claim()
            first += 1000
            mine = checkpoints.save(newer, first, tensors_of(first, newer), RECORD)
            os.kill(older.pid or 0, signal.SIGCONT)
            older.join(SECONDS)
            assert (older.exitcode, lines(said)[-1]) == (3, "overtaken")
        finally:
            older.kill()
            older.join()

        found, torn = checkpoints.newest()
        assert (found and found.name, torn) == (mine.name, [])
        there = [checkpoints.open(name) for name in checkpoints.sealed()]
        whole = [one for one in there if is_whole(one)]
        assert all(is_unmixed(checkpoint) for checkpoint in whole)
        late = [one for one in there if one.attempt < newer and one.name not in lines(said)]
        assert len(late) <= 1, "only what was sealed in the moment of the thaw"
    assert checkpoints.attempts.newest() == 8


def is_whole(checkpoint: Checkpoint) -> bool:
    """One that was sealed in the moment of the thaw may have lost files to the newer attempt."""
    try:
        checkpoint.verify()
    except TornError:
        return False
    return True


def wait_for(said: Path) -> None:
    """Wait until a first checkpoint is saved."""
    until = time.monotonic() + SECONDS
    while not lines(said):
        assert time.monotonic() < until, "nothing was saved"
        time.sleep(0.01)


def freeze(pid: int | None) -> None:
    """SIGSTOP, until it has taken effect."""
    os.kill(pid or 0, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    while stat.read_text().rsplit(")", 1)[1].split()[0] != "T":
        time.sleep(0.001)
