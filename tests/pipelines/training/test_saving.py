"""Saving in the background: what was said is never lost, failures are borne for a while, nothing is mixed."""

import random
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from faulty_wire import FINE, FaultyWire
from s3_server import Access
from saving_driver import NUMBERS, RECORD, is_unmixed, lines, start, tensors_of
from small_disk import free, small_disk
from waiting import wait_until

from cluster.bucket import Bucket
from cluster.mistake import UserError
from cluster.s3 import Patience
from pipelines.training.checkpoints import Checkpoint, Checkpoints, OvertakenError
from pipelines.training.saving import RetentionError, Saver, Snapshot
from pipelines.training.sealed import numbers

KILLS = 20
SECONDS = 120


class Told:
    """What a saver told."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self.saved: list[Checkpoint] = []
        self.failed: list[tuple[int, Exception]] = []
        self.saver = Saver(
            checkpoints, checkpoints.claim(), self.saved.append,
            lambda step, error: self.failed.append((step, error)),
        )  # fmt: skip

    def save(self, step: int) -> None:
        self.saver.save(step, tensors_of(step, self.saver.attempt), RECORD)

    @property
    def steps(self) -> list[int]:
        return [checkpoint.step for checkpoint in self.saved]

    @property
    def failures(self) -> list[int]:
        """Steps that could not be saved."""
        return [step for step, error in self.failed if not isinstance(error, RetentionError)]


def test_checkpoints_are_saved_in_their_order_and_said(place: str) -> None:
    checkpoints = Checkpoints.at(place)
    told = Told(checkpoints)

    for step in (1, 2, 3):
        told.save(step)
    told.saver.finish()

    assert (told.steps, told.failed) == ([1, 2, 3], [])
    assert checkpoints.newest() == (told.saved[-1], [])
    assert [checkpoints.open(name) for name in checkpoints.sealed()] == told.saved[:0:-1]
    assert all(map(is_unmixed, told.saved[1:]))


def test_once_it_is_closed_nothing_is_written_any_more(tmp_path: Path) -> None:
    told, release, saved = Told(Checkpoints.at(str(tmp_path))), threading.Event(), list[int]()

    def slowly(checkpoint: Checkpoint) -> None:
        release.wait(SECONDS)
        saved.append(checkpoint.step)

    told.saver.saved = slowly
    told.save(1)
    threading.Timer(0.2, release.set).start()
    told.saver.close()

    assert saved == [1]


def test_what_is_saved_is_what_was_there_when_it_was_asked_for(tmp_path: Path) -> None:
    checkpoints = Checkpoints.at(str(tmp_path))
    told = Told(checkpoints)
    weights, optimizer = torch.ones(4 * NUMBERS), [{"lr": 1}]

    for step in range(1, 6):
        told.saver.save(step, {"model": {"w": weights}}, {"optimizer": optimizer})
        weights.fill_(step + 1)
        optimizer[0]["lr"] = step + 1
    told.saver.finish()

    for checkpoint in told.saved[-2:]:
        assert (checkpoint.tensors("model")["w"] == checkpoint.step).all()
        assert checkpoint.record["optimizer"] == [{"lr": checkpoint.step}]


@pytest.mark.gpu
def test_what_is_saved_from_a_gpu_is_what_was_there_when_it_was_asked_for() -> None:
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device")
    weights = torch.ones(2**26, device="cuda")

    for number in range(5):
        weights.fill_(number)
        snapshot = Snapshot({"model": {"w": weights, "t": weights[:6].reshape(2, 3).T}})
        weights.fill_(-1)

        copy = snapshot.whole()["model"]
        assert copy["w"].is_pinned()
        assert (copy["w"] == number).all()
        assert (copy["t"] == number).all()


def test_training_goes_on_while_it_is_written_and_waits_only_for_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints.at(str(tmp_path))
    told, release, happened = Told(checkpoints), threading.Event(), list[str]()

    def saved(checkpoint: Checkpoint) -> None:
        release.wait(SECONDS)
        happened.append(f"saved {checkpoint.step}")

    def let_go() -> None:
        happened.append("let go")
        release.set()

    told.saver.saved = saved
    told.save(1)
    happened.append("trains on")
    told.saver.check()
    threading.Timer(0.5, let_go).start()
    told.save(2)
    happened.append("took the second")
    told.saver.finish()

    assert happened[:3] == ["trains on", "let go", "saved 1"]
    assert sorted(happened[3:]) == ["saved 2", "took the second"]


@pytest.mark.slow
def test_what_was_said_to_be_saved_survives_a_kill_at_any_moment(
    place: str, tmp_path: Path, chance: random.Random
) -> None:
    checkpoints, halves, last = Checkpoints.at(place), 0, ""
    for kill in range(KILLS):
        said = tmp_path / f"said-{kill}"
        process = start(place, said)
        wait_until(lambda said=said: bool(lines(said)))
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        process.join()
        first, last = int(lines(said)[0].split("-")[1]), lines(said)[-1]

        found, torn = checkpoints.newest()

        assert found is not None
        assert torn == []
        assert found.name == last or found.step == numbers(last)[0] + 1, f"said {last}, found {found.name}"
        assert first > (numbers(last_of(tmp_path, kill - 1))[0] if kill else 0)
        assert all(is_unmixed(checkpoints.open(name)) for name in checkpoints.sealed())
        folders = {one.name.split("/")[0] for one in checkpoints.home.list("step-")}
        halves += len(folders - {*checkpoints.sealed()})
    sys.stdout.write(f"kills that left half a checkpoint: {halves} of {KILLS}\n")
    assert halves
    before = checkpoints.sealed()[0]
    told = Told(checkpoints)
    told.save(10**6)
    told.saver.finish()
    assert checkpoints.sealed() == [told.saved[0].name, before]
    assert {one.name.split("/")[0] for one in checkpoints.home.list("step-")} == {*checkpoints.sealed()}


def last_of(tmp_path: Path, kill: int) -> str:
    return lines(tmp_path / f"said-{kill}")[-1]


def test_an_overtaken_attempt_hears_of_it_at_its_next_save(place: str) -> None:
    checkpoints = Checkpoints.at(place)
    told = Told(checkpoints)
    told.save(1)
    told.saver.wait()
    newer = Told(checkpoints)

    told.save(2)
    with pytest.raises(OvertakenError):
        told.save(3)
    with pytest.raises(OvertakenError):
        told.saver.check()
    with pytest.raises(OvertakenError):
        told.saver.finish()

    newer.save(2)
    newer.saver.finish()
    assert (told.steps, told.failed, newer.steps) == ([1], [], [2])


@pytest.mark.parametrize("room", [0, 4096, 300_000])
def test_a_full_disk_costs_no_older_checkpoint_and_with_room_saving_goes_on(
    tmp_path: Path, room: int
) -> None:
    with small_disk(tmp_path / "disk") as disk:
        checkpoints, others = Checkpoints.at(str(disk / "checkpoints")), disk / "others"
        told = Told(checkpoints)
        for step in (1, 2):
            told.save(step)
        told.saver.wait()
        kept = checkpoints.sealed()
        others.write_bytes(bytes(free(disk) - room))
        before = free(disk)

        for failures, step in enumerate((3, 4), start=1):
            told.save(step)
            told.saver.wait()
            assert len(told.failed) == failures

        assert checkpoints.sealed() == kept
        others.unlink()
        told.save(5)
        told.saver.finish()
        assert (told.steps, told.failures) == ([1, 2, 5], [3, 4])
        assert all("has no room left" in str(error) for _, error in told.failed)
        assert checkpoints.newest() == (told.saved[-1], [])
        assert before == room // 4096 * 4096, "the disk was full"


def test_what_a_kill_left_makes_room_before_the_next_is_saved(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        checkpoints = Checkpoints.at(str(disk / "checkpoints"))
        for name in ("model.safetensors", f".{'0' * 32}.part"):
            checkpoints.home.write(f"step-00000009-a0001/{name}", bytes(10**6))
        assert checkpoints.claim() == 1
        (disk / "others").write_bytes(bytes(free(disk) - 8192))

        told = Told(checkpoints)
        told.save(1)
        told.saver.finish()

        assert told.steps == [1]


def test_the_third_failure_in_a_row_ends_it(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        told = Told(Checkpoints.at(str(disk / "checkpoints")))
        told.save(1)
        told.saver.wait()
        (disk / "others").write_bytes(bytes(free(disk)))

        for step in (2, 3, 4):
            told.save(step)
        with pytest.raises(UserError, match="has no room left"):
            told.save(5)
        with pytest.raises(UserError, match="has no room left"):
            told.saver.finish()

        assert told.failures == [2, 3, 4]
        assert told.saver.checkpoints.newest() == (told.saved[0], [])


def test_failures_with_a_success_between_them_do_not_add_up(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        told, others = Told(Checkpoints.at(str(disk / "checkpoints"))), disk / "others"
        told.save(1)
        told.saver.wait()

        for step in (10, 20, 30):
            others.write_bytes(bytes(free(disk)))
            for failing in (step, step + 1):
                told.save(failing)
            told.saver.wait()
            others.unlink()
            told.save(step + 2)
            told.saver.wait()
        told.saver.finish()

        assert told.steps == [1, 12, 22, 32]
        assert told.failures == [10, 11, 20, 21, 30, 31]


def test_a_last_checkpoint_that_fails_is_raised_at_the_end(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        told = Told(Checkpoints.at(str(disk / "checkpoints")))
        (disk / "others").write_bytes(bytes(free(disk)))

        told.save(1)
        with pytest.raises(UserError, match="has no room left"):
            told.saver.finish()

        assert told.failures == [1]


@pytest.mark.s3
def test_a_server_that_is_away_for_too_long_costs_one_checkpoint_and_no_older_one(
    bucket: str, s3_access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = FaultyWire(s3_access.port, lambda number, method, path: FINE)
    with wire.open() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        hurried = Patience(seconds=0.5, first=0.01, longest=0.1)
        checkpoints = Checkpoints(Bucket(f"s3://{bucket}/a training", hurried))
        told = Told(checkpoints)
        for step in (1, 2):
            told.save(step)
        told.saver.wait()

        back = wire.away(6)
        told.save(3)
        told.saver.wait()
        assert told.failures == [3]
        back.join()
        told.save(4)
        told.saver.finish()

        assert (told.steps, told.failures) == ([1, 2, 4], [3])
        assert all("has not answered for" in str(error) for _, error in told.failed)
        assert checkpoints.newest() == (told.saved[-1], [])


def test_what_a_listener_raises_ends_it(tmp_path: Path) -> None:
    told = Told(Checkpoints.at(str(tmp_path)))

    def trip(checkpoint: Checkpoint) -> None:
        raise ZeroDivisionError

    told.saver.saved = trip
    told.save(1)

    with pytest.raises(ZeroDivisionError):
        told.save(2)
    assert told.failed == []


def test_a_record_that_json_cannot_hold_is_refused_at_once(tmp_path: Path) -> None:
    told = Told(Checkpoints.at(str(tmp_path)))

    with pytest.raises(TypeError):
        told.saver.save(1, tensors_of(1, 1), {"x": torch})
    told.saver.finish()

    assert (told.steps, told.failed) == ([], [])
