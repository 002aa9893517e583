"""Checkpoints appear whole, are recognised when torn, and hold no code."""

import pickle
from pathlib import Path

import pytest
import torch

from pipelines import checkpoints

TENSORS = {"model": {"w": torch.arange(6.0).reshape(2, 3)}, "optimizer": {"0.step": torch.tensor(3.0)}}
RECORD = {"samples_seen": 30, "optimizer": [{"lr": 0.1, "betas": [0.9, 0.99]}]}


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, 3, TENSORS, RECORD)

    found, torn = checkpoints.newest(tmp_path)

    assert found is not None
    assert torn == []
    assert (found.step, found.samples_seen) == (3, 30)
    assert torch.equal(found.tensors("model")["w"], TENSORS["model"]["w"])
    assert found.tensors("optimizer")["0.step"].shape == ()
    assert found.record["optimizer"] == RECORD["optimizer"]


@pytest.mark.parametrize("harm", ["cut", "flip", "no state", "no weights"])
def test_a_torn_newest_checkpoint_is_passed_over_and_said(tmp_path: Path, harm: str) -> None:
    checkpoints.save(tmp_path, 3, TENSORS, RECORD)
    newest = checkpoints.save(tmp_path, 6, TENSORS, RECORD)
    weights = newest / "model.safetensors"
    data = weights.read_bytes()
    if harm == "cut":
        weights.write_bytes(data[:-1])
    elif harm == "flip":
        weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "no state":
        (newest / "state.json").unlink()
    else:
        weights.unlink()

    found, torn = checkpoints.newest(tmp_path)

    assert found is not None
    assert found.step == 3
    assert len(torn) == 1
    assert "step-00000006" in torn[0]


def test_only_the_newest_are_kept_and_leftovers_go(tmp_path: Path) -> None:
    (tmp_path / ".step-00000001.99.part").mkdir()
    for step in (1, 2, 3, 4):
        checkpoints.save(tmp_path, step, TENSORS, RECORD)

    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]


def test_after_torn_checkpoints_the_new_ones_are_kept(tmp_path: Path) -> None:
    for step in (56, 60):
        (checkpoints.save(tmp_path, step, TENSORS, RECORD) / "state.json").unlink()

    checkpoints.save(tmp_path, 4, TENSORS, RECORD)

    found, torn = checkpoints.newest(tmp_path)
    assert found is not None
    assert found.step == 4
    assert torn == []


def test_a_pickle_in_place_of_the_weights_is_never_run(tmp_path: Path) -> None:
    class Poison:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "poisoned"),)  # type: ignore[return-value]

    folder = checkpoints.save(tmp_path / "steps", 3, TENSORS, RECORD)
    (folder / "model.safetensors").write_bytes(pickle.dumps(Poison()))

    found, torn = checkpoints.newest(tmp_path / "steps")

    assert found is None
    assert len(torn) == 1
    assert not (tmp_path / "poisoned").exists()


def test_an_empty_folder_has_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoints.newest(tmp_path / "nowhere") == (None, [])
