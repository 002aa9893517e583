"""However many ranks train, they see the same samples and learn the same from them."""

import hashlib
import shutil
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import Fault, own_rank
from groups import elsewhere, learnt_curves, newest, train_group
from torch import Tensor, distributed

from pipelines.settings import RunSettings
from pipelines.tracking import lines
from pipelines.training.outside import Watch, unwatched
from pipelines.training.state import State
from preprocessing.order import Order
from preprocessing.reading import Reader
from preprocessing.shards import Shards

pytestmark = pytest.mark.slow

EXACT = 1e-6
BOUND = 1e-5


@dataclass(frozen=True)
class Gradients:
    """Writes down the gradients of one step, as the ranks have averaged them and before they are bounded."""

    step: int
    path: Path

    def __call__(self, phase: str, step: int, state: State) -> None:
        if (phase, step) == ("scored", self.step):
            flat = torch.cat([one.grad.flatten() for one in state.model.parameters() if one.grad is not None])
            np.save(f"{self.path}-{own_rank()}.npy", flat.numpy())

    def of(self, rank: int) -> Tensor:
        return torch.from_numpy(np.load(f"{self.path}-{rank}.npy")).double()


@pytest.mark.parametrize(("batch", "mixup"), [(14, 0.4), (13, 0.0), (15, 0.4)])
def test_gradients_of_one_process_are_those_of_several(
    settings: RunSettings, shards: Shards, tmp_path: Path, batch: int, mixup: float
) -> None:
    """From weights that are some steps old: of new ones most gradients are 0, as the head begins at 0.

    The ranks' parts of 14 and 15 cut through pairs that are blended.
    """
    small = replace(settings.train, steps=8, batch=batch, mixup=mixup, cutmix=mixup, label_smoothing=0.1)
    begun = elsewhere(replace(settings, train=small), tmp_path / "begun")
    assert train_group(begun, shards, 1) == [0]
    found: dict[tuple[int, int], list[Tensor]] = {}

    for world, microbatch in ((1, 0), (2, 0), (1, 5), (2, 4), (3, 3)):
        run = elsewhere(begun, tmp_path / f"{world}-{microbatch}")
        shutil.copytree(begun.root, run.root)
        run = replace(run, train=replace(small, steps=9, microbatch=microbatch))
        seen = Gradients(8, tmp_path / f"gradients-{world}-{microbatch}")
        assert train_group(run, shards, world, seen) == [0] * world
        found[world, microbatch] = [seen.of(rank) for rank in range(world)]

    (alone,) = found.pop((1, 0))
    assert (alone != 0).double().mean() > 0.9
    for case, gradients in found.items():
        for gradient in gradients:
            assert (gradient - alone).norm() / alone.norm() < EXACT, case


@dataclass(frozen=True)
class Witness:
    """Writes down every sample that goes through the model, from a hook on the model itself."""

    folder: Path
    then: Watch = unwatched

    def __call__(self, phase: str, step: int, state: State) -> None:
        if phase == "begin":
            lines.append(self.path(step, world(), own_rank()), {"new": []})
            state.model._forward_pre_hooks.clear()
            state.model.register_forward_pre_hook(partial(self.write, step))
        self.then(phase, step, state)

    def write(self, step: int, model: torch.nn.Module, inputs: tuple[Any, ...]) -> None:
        """A piece of a batch, each sample by what it holds."""
        if model.training:
            samples = [content(values) for values in inputs[0]["image"].values.numpy()]
            lines.append(self.path(step, world(), own_rank()), {"piece": samples})

    def path(self, step: int, world: int, rank: int) -> Path:
        return self.folder / f"{step:03d}-{world}-{rank}.jsonl"

    def fed(self, step: int, world: int) -> list[list[str]]:
        """The global batch of a step, each time that a group of this size took it."""
        batches: dict[int, list[str]] = {}
        for rank in range(world):
            time = -1
            for line in lines.read(self.path(step, world, rank))[0]:
                time += "new" in line
                batches.setdefault(time, []).extend(line.get("piece", []))
        return list(batches.values())


def world() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def content(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels)).hexdigest()[:16]


@dataclass(frozen=True)
class Stop:
    """Asks for a stop in a step."""

    step: int
    path: Path

    def __call__(self, phase: str, step: int, state: State) -> None:
        if (phase, step) == ("begin", self.step):
            self.path.touch()


def planned(shards: Shards, settings: RunSettings) -> list[list[str]]:
    """The samples of every step as the order has them, by what is stored of them."""
    reader = Reader(shards, "train")
    order = Order.of(reader.shard_sizes, settings.train.batch, settings.seed)
    return [
        [content(sample["image"]) for sample in reader.read(order.batch(step)[0])]
        for step in range(settings.train.steps)
    ]


def test_a_run_that_shrinks_and_grows_sees_the_same_samples_and_learns_the_same(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    """2 -> 1 -> 2 ranks, by a stop and by a kill.

    The bound: float32 sums of the same gradients in another order differ by some 1e-7 of their norm (less
    than `EXACT`, see above). Adam hands on about as much of a step's length, so that 30 steps differ by some
    1e-5 at most, and the loss by as much where no step changes it by more than itself.
    """
    train = replace(settings.train, steps=30, batch=13, save_every=5)
    settings = replace(settings, train=train, cluster=replace(settings.cluster, workers=(1, 2)))
    whole, torn = elsewhere(settings, tmp_path / "whole"), elsewhere(settings, tmp_path / "torn")
    seen, again = Witness(tmp_path / "seen"), Witness(tmp_path / "again")
    for witness in (seen, again):
        witness.folder.mkdir()
    stop = tmp_path / "stop"
    assert train_group(whole, shards, 2, seen) == [0, 0]

    assert train_group(torn, shards, 2, replace(again, then=Stop(7, stop)), stop) == [0, 0]
    assert newest(torn, shards).step == 8
    kill = Fault(kind="kill", step=22, phase="agreed", mark=tmp_path / "mark")
    assert train_group(torn, shards, 1, replace(again, then=kill)) == [-9]
    begun = newest(torn, shards).step
    assert begun in {15, 20}, "the kill may find the one of 20 being written"
    assert train_group(torn, shards, 2, again) == [0, 0]

    for step, batch in enumerate(planned(shards, settings)):
        assert seen.fed(step, 2) == [batch], step
        assert again.fed(step, 1) == ([batch] if 8 <= step <= 22 else []), step
        assert again.fed(step, 2) == ([batch] if step < 8 or step >= begun else []), step
    expected = learnt_curves(whole, shards)
    for name, values in learnt_curves(torn, shards).items():
        assert dict(values) == pytest.approx(dict(expected[name]), rel=BOUND), name
    one, other = (newest(run, shards).record["progress"] for run in (whole, torn))
    assert one == other
