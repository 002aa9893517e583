"""Checkpoints appear whole in folders and buckets, are recognised when torn, and hold no code."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pytest
import torch
from faulty_wire import FINE, Fault, FaultyWire
from s3_server import Access
from saving_driver import RECORD, is_unmixed, tensors_of

from cluster.mistake import UserError
from cluster.storage import Store
from pipelines.training.checkpoints import Checkpoint, Checkpoints, TornError
from pipelines.training.tensor_files import sum_of


@pytest.fixture
def checkpoints(place: str) -> Checkpoints:
    """Those of a training that has just begun its first attempt."""
    found = Checkpoints.at(place)
    assert found.claim() == 1
    return found


def save(checkpoints: Checkpoints, *steps: int, attempt: int = 1) -> Checkpoint:
    """Save these steps; the last one."""
    return [checkpoints.save(attempt, step, tensors_of(step, attempt), RECORD) for step in steps][-1]


def afresh(checkpoints: Checkpoints) -> Checkpoints:
    """The same place as a new process sees it."""
    return Checkpoints(checkpoints.home)


def seen(checkpoints: Checkpoints) -> list[int]:
    """Steps of the checkpoints, the newest first."""
    return [checkpoints.open(name).step for name in checkpoints.sealed()]


def files(checkpoints: Checkpoints) -> set[str]:
    """All that lies there but the claims."""
    return {one.name for one in checkpoints.home.list() if not one.name.startswith("claims/")}


def test_what_was_saved_comes_back(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 3)

    found, torn = afresh(checkpoints).newest()

    assert found == saved
    assert torn == []
    assert (found.name, found.step, found.attempt) == ("step-00000003-a0001", 3, 1)
    assert is_unmixed(found)
    assert found.record.items() >= RECORD.items()
    assert found == afresh(checkpoints).open(found.name)


def test_a_place_without_checkpoints_has_none_and_stays_as_it_was(place: str) -> None:
    checkpoints = Checkpoints.at(place)

    assert checkpoints.newest() == (None, [])
    assert checkpoints.sealed() == []
    assert not checkpoints.holds("step-00000001-a0001")
    assert place.startswith("s3:") or not Path(place).exists()


def test_checkpoints_travel_to_other_processes(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 3)

    there, sent = pickle.loads(pickle.dumps((checkpoints, saved)))

    assert there.newest() == (saved, [])
    assert is_unmixed(sent)


def cut(data: bytes) -> bytes:
    return data[:-1]


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def other_number(data: bytes) -> bytes:
    return data.replace(b'"samples_seen": 12', b'"samples_seen": 13')


def other_step(data: bytes) -> bytes:
    return data.replace(b'"step": 6', b'"step": 7')


@pytest.mark.parametrize(
    ("file", "harm", "said"),
    [
        ("model.safetensors", cut, r"model.safetensors has 240,0\d\d bytes, 240,0\d\d were written"),
        ("model.safetensors", flip, "model.safetensors is not what was written: its sha256 differs"),
        ("optimizer.safetensors", flip, "optimizer.safetensors is not what was written: its sha256 differs"),
        ("model.safetensors", None, "model.safetensors is missing"),
        ("state.json", cut, "state.json is no seal"),
        ("state.json", other_number, "state.json is not what was written"),
        ("state.json", other_step, "state.json is not what was written"),
        ("state.json", lambda data: b"", "state.json is no seal"),
        ("state.json", lambda data: b"[1]", "state.json is no seal"),
        ("state.json", lambda data: b"[" * 100_000, "state.json is no seal"),
        ("state.json", lambda data: b"\xff", "state.json is no seal"),
    ],
)
def test_a_torn_newest_checkpoint_is_said_and_passed_over(
    checkpoints: Checkpoints, file: str, harm: Callable[[bytes], bytes] | None, said: str
) -> None:
    save(checkpoints, 3)
    damage(save(checkpoints, 6).home, file, harm)

    found, torn = afresh(checkpoints).newest()

    assert found is not None
    assert found.step == 3
    (complaint,) = torn
    assert complaint.startswith("step-00000006-a0001: ")
    assert_said(said, complaint)


def damage(home: Store, file: str, harm: Callable[[bytes], bytes] | None) -> None:
    if harm is None:
        home.remove(file)
    else:
        home.write(file, harm(home.read(file)))


def assert_said(pattern: str, text: str) -> None:
    with pytest.raises(UserError, match=pattern):
        raise UserError(text)


def test_a_seal_of_another_checkpoint_seals_nothing(checkpoints: Checkpoints) -> None:
    first, second = save(checkpoints, 3), save(checkpoints, 6)
    second.home.write("state.json", first.home.read("state.json"))

    found, torn = afresh(checkpoints).newest()

    assert found == first
    assert torn == ["step-00000006-a0001: state.json belongs to another checkpoint"]


@pytest.mark.parametrize("harm", [cut, flip, None])
def test_what_is_torn_later_is_found_when_it_is_loaded_and_the_way_out_is_said(
    checkpoints: Checkpoints, harm: Callable[[bytes], bytes] | None
) -> None:
    saved = save(checkpoints, 6)
    damage(saved.home, "model.safetensors", harm)

    with pytest.raises(
        TornError, match=r"step-00000006-a0001: model.safetensors .*\. Delete it and run again"
    ):
        saved.tensors("model")
    assert saved.tensors("optimizer")["0.step"] == 6


def test_without_its_seal_it_is_no_checkpoint(checkpoints: Checkpoints) -> None:
    save(checkpoints, 3)
    save(checkpoints, 6).home.remove("state.json")

    found, torn = afresh(checkpoints).newest()

    assert found is not None
    assert (found.step, torn) == (3, [])
    with pytest.raises(TornError, match=r"step-00000006-a0001: state\.json is missing"):
        checkpoints.open("step-00000006-a0001")


@pytest.mark.s3
def test_one_that_goes_while_it_is_read_is_not_torn_and_the_one_that_came_is_found(
    bucket: str, s3_access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints.at(f"s3://{bucket}/a training")
    old, new = (save(checkpoints, step, attempt=checkpoints.claim()) for step in (6, 9))
    held_back = new.home.read("state.json")
    new.home.remove("state.json")

    def meanwhile(number: int, method: str, path: str) -> Fault:
        if method == "GET" and path.endswith(f"{old.name}/model.safetensors"):
            client = boto3.client("s3", endpoint_url=s3_access.url)
            client.put_object(Bucket=bucket, Key=f"a training/{new.name}/state.json", Body=held_back)
            for file in ("state.json", "model.safetensors"):
                client.delete_object(Bucket=bucket, Key=f"a training/{old.name}/{file}")
        return FINE

    with FaultyWire(s3_access.port, meanwhile).open() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        assert afresh(checkpoints).newest() == (new, [])


def test_the_newest_is_that_of_the_latest_step_and_of_equal_ones_that_of_the_newer_attempt(
    checkpoints: Checkpoints,
) -> None:
    save(checkpoints, 99_999_998, 99_999_999)
    attempt = checkpoints.claim()
    save(checkpoints, 99_999_999, attempt=attempt)

    assert checkpoints.sealed() == ["step-99999999-a0002", "step-99999999-a0001"]
    save(checkpoints, 100_000_000, attempt=attempt)
    assert checkpoints.sealed() == ["step-100000000-a0002", "step-99999999-a0002"]


def test_the_two_newest_are_kept_and_what_never_was_sealed_goes(checkpoints: Checkpoints) -> None:
    for name in ("step-00000001-a0001/model.safetensors", "step-00000009-a0001/.part"):
        checkpoints.home.write(name, b"left by a kill")
    checkpoints.home.write("step-notes/mine.txt", b"somebody else's")

    save(checkpoints, 1, 2, 3, 4)

    assert seen(checkpoints) == [4, 3]
    assert files(checkpoints) == {
        "step-notes/mine.txt",
        *(f"step-0000000{step}-a0001/{file}" for step in (3, 4)
          for file in ("model.safetensors", "optimizer.safetensors", "state.json")),
    }  # fmt: skip
    place = Path(checkpoints.home.place)
    assert not place.is_dir() or len(list(place.glob("step-0*"))) == 2


def test_leftovers_of_a_newer_attempt_stay(checkpoints: Checkpoints) -> None:
    checkpoints.home.write("step-00000001-a0002/model.safetensors", b"on its way")

    save(checkpoints, 2)

    assert "step-00000001-a0002/model.safetensors" in files(checkpoints)


def test_torn_ones_do_not_count_among_the_two_that_are_kept(checkpoints: Checkpoints) -> None:
    save(checkpoints, 3)
    damage(save(checkpoints, 6).home, "model.safetensors", flip)
    again = afresh(checkpoints)

    save(again, 6, attempt=again.claim())

    assert again.sealed() == ["step-00000006-a0002", "step-00000003-a0001"]


def test_after_torn_checkpoints_the_new_ones_are_kept(checkpoints: Checkpoints) -> None:
    for step in (56, 60):
        damage(save(checkpoints, step).home, "optimizer.safetensors", cut)
    again = afresh(checkpoints)
    found, torn = again.newest()
    assert (found, len(torn)) == (None, 2)

    save(again, 4, attempt=again.claim())

    assert seen(again) == [4]
    assert again.newest()[1] == []


def test_later_steps_of_an_overtaken_attempt_go_when_the_newer_one_saves(checkpoints: Checkpoints) -> None:
    save(checkpoints, 80)
    attempt = checkpoints.claim()
    # Sealed in the moment of a thaw, after the newer attempt began.
    state = save(Checkpoints(checkpoints.home.below("elsewhere")), 100)
    for one in state.home.list():
        checkpoints.home.write(f"{state.name}/{one.name}", state.home.read(one.name))
    assert seen(checkpoints) == [100, 80]

    save(checkpoints, 90, attempt=attempt)

    assert seen(checkpoints) == [90, 80]


def test_a_step_that_is_sealed_already_is_not_written_again(checkpoints: Checkpoints) -> None:
    saved = save(checkpoints, 3)
    before = {one.name: one.stamp for one in checkpoints.home.list()}

    assert save(checkpoints, 3) == saved

    assert {one.name: one.stamp for one in checkpoints.home.list()} == before


@pytest.mark.parametrize("record", [{"x": torch}, {"x": {1, 2}}])
def test_a_save_that_fails_leaves_nothing_and_keeps_the_older_ones(
    checkpoints: Checkpoints, record: dict[str, Any]
) -> None:
    save(checkpoints, 1, 2)
    before = files(checkpoints)

    with pytest.raises(TypeError):
        checkpoints.save(1, 3, tensors_of(3, 1), record)

    assert files(checkpoints) == before


def test_a_local_folder_holds_weights_and_seal(checkpoints: Checkpoints, tmp_path: Path) -> None:
    saved = save(checkpoints, 3)

    for _ in range(2):
        folder = checkpoints.fetched(saved, tmp_path / "fetched")

        with (folder / "model.safetensors").open("rb") as file:
            assert sum_of(file).sha256 == saved.weights
        assert json.loads((folder / "state.json").read_bytes()).items() >= RECORD.items()
        assert (folder / "state.json").read_bytes() == saved.home.read("state.json")
        in_bucket = checkpoints.home.place.startswith("s3:")
        assert folder == Path(tmp_path / "fetched" if in_bucket else checkpoints.home.place, saved.name)
        if in_bucket:
            (folder / "model.safetensors").write_bytes(b"torn since")
    damage(saved.home, "model.safetensors", flip)
    with pytest.raises(TornError, match="its sha256 differs"):
        checkpoints.fetched(saved, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere" / saved.name / "model.safetensors").exists()


class Poison:
    """A pickle that runs code where it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("spot", ["model.safetensors", "optimizer.safetensors", "state.json", "extra.pkl"])
@pytest.mark.parametrize("sealed", [False, True])
def test_a_pickle_anywhere_in_a_checkpoint_is_never_run(
    checkpoints: Checkpoints, tmp_path: Path, spot: str, sealed: bool
) -> None:
    saved, poison = save(checkpoints, 3), pickle.dumps(Poison(tmp_path / "poisoned"))
    for name in (f"{saved.name}/{spot}", "claims/a0001", "step-00000009-a0001", "data.pkl"):
        checkpoints.home.write(name, poison)
    if sealed and spot in saved.record["files"]:
        reseal(saved, spot)

    there = afresh(checkpoints)
    found, torn = there.newest()
    for group in found.groups if found else []:
        if f"{group}.safetensors" == spot:
            with pytest.raises(TornError, match=f"{spot} is no safetensors file"):
                found.tensors(group)
        else:
            found.tensors(group)
    save(there, 12, attempt=there.claim())

    assert (found is None) == bool(torn) == (spot != "extra.pkl" and not (sealed and "tensors" in spot))
    assert not (tmp_path / "poisoned").exists()
    pickle.loads(poison)
    assert (tmp_path / "poisoned").exists(), "it was poison"


def reseal(saved: Checkpoint, spot: str) -> None:
    """Make the seal fit a file that was replaced, as one could who knows how it is made."""
    from pipelines.training.sealed import as_seal

    with saved.home.reading(spot) as file:
        found = sum_of(file)
    record = {**saved.record, "files": {**saved.record["files"], spot: found.sha256},
              "sizes": {**saved.record["sizes"], spot: found.bytes}}  # fmt: skip
    saved.home.write("state.json", as_seal(record))


def test_a_seal_cannot_name_files_elsewhere(checkpoints: Checkpoints, tmp_path: Path) -> None:
    saved = save(checkpoints, 3)
    checkpoints.home.write("elsewhere.safetensors", b"content")
    from pipelines.training.sealed import as_seal

    record = {
        **saved.record,
        "files": {"../elsewhere.safetensors": ""},
        "sizes": {"../elsewhere.safetensors": 7},
    }
    saved.home.write("state.json", as_seal(record))

    with pytest.raises(TornError, match=r"state\.json is not what was written"):
        afresh(checkpoints).open(saved.name)


def test_a_checkpoint_of_the_format_before_is_refused_with_the_ways_out(checkpoints: Checkpoints) -> None:
    checkpoints.home.write("step-00000120/state.json", b"{}")

    for ask in (checkpoints.newest, checkpoints.sealed, lambda: checkpoints.open("step-00000120")):
        with pytest.raises(
            UserError, match="step-00000120 is a checkpoint in the format of an earlier version"
        ):
            ask()


def test_a_name_that_is_none_of_a_checkpoint_is_refused_with_the_form(checkpoints: Checkpoints) -> None:
    with pytest.raises(
        UserError, match="newest is no name of a checkpoint; they are called like step-00000120"
    ):
        checkpoints.open("newest")
