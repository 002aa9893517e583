"""Checkpoints: folders that hold everything a training needs to go on, and that appear whole.

A folder `step-00000120/` holds tensors as safetensors and the rest as JSON; nothing in it can run code.
`state.json` carries the sha256 of the tensor files, so a torn checkpoint is recognised and passed over.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from cluster.storage import sync_folder

STATE = "state.json"
KEPT = 2


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One sealed checkpoint."""

    folder: Path
    step: int
    samples_seen: int
    record: Mapping[str, Any]
    """Settings, digests and everything else that is not a tensor."""

    @property
    def weights(self) -> str:
        """sha256 of the weights that are evaluated and registered."""
        return self.record["files"]["model.safetensors"]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """The tensors of `name` ("model", "raw", "optimizer"), on the CPU."""
        return load_file(self.folder / f"{name}.safetensors")


def save(
    place: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], record: Mapping[str, Any]
) -> Path:
    """Seal a checkpoint under `place` and drop all but it and the one before; its folder."""
    place.mkdir(parents=True, exist_ok=True)
    final = place / f"step-{step:08d}"
    aside = place / f".{final.name}.{os.getpid()}.part"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    for name, group in tensors.items():
        save_file({key: value.contiguous() for key, value in group.items()}, aside / f"{name}.safetensors")
    sealed = {**record, "step": step, "files": {path.name: _sha256(path) for path in sorted(aside.iterdir())}}
    (aside / STATE).write_text(json.dumps(sealed, indent=1, sort_keys=True))
    for path in aside.iterdir():
        _flush(path)
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    sync_folder(place)
    _drop_others(place, step)
    return final


def newest(place: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint under `place` that is whole, and what was wrong with newer ones."""
    torn: list[str] = []
    for folder in sorted(place.glob("step-*"), reverse=True):
        try:
            return open_checkpoint(folder), torn
        except (OSError, ValueError, KeyError) as error:
            torn.append(f"{folder.name}: {error}")
    return None, torn


def open_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`.

    Raises:
        OSError: a file is missing.
        ValueError: a file is not what was written.
    """
    record = json.loads((folder / STATE).read_bytes())
    for name, expected in record["files"].items():
        if _sha256(folder / name) != expected:
            raise ValueError(f"{name} is not what was written")
    return Checkpoint(folder=folder, step=record["step"], samples_seen=record["samples_seen"], record=record)


def _drop_others(place: Path, step: int) -> None:
    """Keep the checkpoint of `step` and the one before; a later one is torn, or this were not saved."""
    whole = sorted(folder for folder in place.glob("step-*") if folder.name <= f"step-{step:08d}")[-KEPT:]
    for folder in place.glob("step-*"):
        if folder not in whole:
            shutil.rmtree(folder)
    for leftover in place.glob(".step-*.part"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
