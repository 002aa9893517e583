"""All that a training needs to go on: put down and taken up without losing a bit."""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from faults import own_rank
from groups import train_group
from hypothesis import given
from hypothesis import strategies as st

from cluster.mistake import UserError
from pipelines.settings import RunSettings
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import held, loop
from pipelines.training.outside import Outside
from pipelines.training.state import Progress, State, Sums
from preprocessing.shards import Shards

CPU = torch.device("cpu")
Change = Callable[..., RunSettings]


def changed(settings: RunSettings, **train: Any) -> RunSettings:
    return replace(settings, train=replace(settings.train, **train))


def trained(settings: RunSettings, shards: Shards) -> State:
    """What the loop has at its end."""
    seen: list[State] = []
    loop(
        settings,
        shards.digest,
        Outside(publish=lambda _: None, watch=lambda _, __, state: seen.append(state)),
    )
    return seen[-1]


def all_of(state: State) -> dict[str, torch.Tensor]:
    return {
        f"{group}/{name}": value for group, named in state.tensors().items() for name, value in named.items()
    }


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("ema", [0.0, 0.9])
@pytest.mark.parametrize("optimizer", ["adamw", "lamb"])
def test_what_a_checkpoint_holds_is_the_whole_state(
    settings: RunSettings, shards: Shards, tmp_path: Path, optimizer: str, ema: float, precision: str
) -> None:
    settings = changed(settings, optimizer=optimizer, ema=ema, precision=precision, steps=3)
    state = trained(settings, shards)
    state.unread = Sums(steps=1, loss=0.1 + 0.2, correct=7, norm=1 / 3)
    checkpoints = Checkpoints.at(str(tmp_path / "elsewhere"))
    saved = checkpoints.save(checkpoints.claim(), 3, state.tensors(), state.record())

    again = State.fresh(replace(settings, seed=5), shards, CPU)
    again.settings = settings
    again.take_up(saved.record, held(saved))

    assert set(saved.groups) == {"model", "optimizer", *(["raw"] if ema else [])}
    assert all_of(again).keys() == all_of(state).keys()
    for name, value in all_of(state).items():
        assert torch.equal(all_of(again)[name], value), name
    assert again.record() == state.record()
    assert (again.progress, again.unread, again.scale) == (state.progress, state.unread, state.scale)
    assert again.progress == Progress(
        step=3, learnt=3 - state.progress.skipped, skipped=state.progress.skipped
    )
    assert type(again.optimizer.param_groups[0]["betas"]) is tuple
    assert again.optimizer.param_groups[0]["lr"] == state.optimizer.param_groups[0]["lr"]


def test_the_weights_that_are_kept_are_the_average(settings: RunSettings, shards: Shards) -> None:
    state = trained(changed(settings, steps=3, ema=0.9), shards)

    tensors = state.tensors()

    assert state.average
    assert torch.equal(tensors["model"]["head.weight"], state.average.model.head.weight)
    assert torch.equal(tensors["raw"]["head.weight"], state.model.head.weight)
    assert not torch.equal(tensors["model"]["head.weight"], tensors["raw"]["head.weight"])


def test_a_checkpoint_of_other_shards_is_refused(settings: RunSettings, shards: Shards) -> None:
    state = State.fresh(settings, shards, CPU)

    with pytest.raises(UserError, match="were made on the shards another, not on "):
        state.take_up({**state.record(), "shards": "another"}, state.tensors())


NUMBERS = st.floats(allow_nan=False) | st.floats(width=32, allow_nan=False)


@given(NUMBERS, NUMBERS, NUMBERS, st.integers(0, 2**53))
def test_numbers_survive_a_record_to_the_last_bit(
    loss: float, correct: float, norm: float, steps: int
) -> None:
    sums = Sums(steps=steps, loss=loss, correct=correct, norm=norm)

    again = Sums(**json.loads(json.dumps(vars(sums))))

    assert [value.hex() for value in (again.loss, again.correct, again.norm)] == [
        value.hex() for value in (loss, correct, norm)
    ]
    assert again.steps == steps


def test_a_record_survives_json(settings: RunSettings, shards: Shards) -> None:
    record = trained(changed(settings, steps=5), shards).record()

    assert json.loads(json.dumps(record)).keys() == record.keys()
    assert json.dumps(json.loads(json.dumps(record))) == json.dumps(record)
    assert record["unread"] == vars(Sums())
    assert record["samples_seen"] == 5 * 12


@given(st.lists(st.sampled_from(["take", "bad", "rescale"]), max_size=30))
def test_every_step_is_learnt_from_or_skipped(steps: list[str]) -> None:
    progress = Progress()
    for step in steps:
        progress = progress.taken() if step == "take" else progress.passed(bad=step == "bad")

    assert progress.step == len(steps) == progress.learnt + progress.skipped
    assert progress.learnt == steps.count("take")
    since = steps[len(steps) - steps[::-1].index("take") :] if "take" in steps else steps
    assert progress.streak == since.count("bad")
    assert progress.rollbacks == 0


def test_weights_that_went_back_have_learnt_from_fewer_batches() -> None:
    progress = Progress(step=20, learnt=16, skipped=4, streak=3)

    back = progress.rolled_back(learnt=12)

    assert back == Progress(step=20, learnt=12, skipped=4, streak=0, rollbacks=1)
    assert back.taken() == Progress(step=21, learnt=13, skipped=4, streak=0, rollbacks=1)


@dataclass(frozen=True)
class Dice:
    """Writes down the state of each generator at every phase."""

    folder: Path

    def __call__(self, phase: str, step: int, state: State) -> None:
        if phase in ("begin", "scored", "agreed", "taken"):
            numpy = repr(np.random.get_state()).encode()
            parts = torch.get_rng_state().numpy().tobytes(), numpy, repr(random.getstate()).encode()
            text = " ".join(hashlib.sha256(part).hexdigest() for part in parts)
            (self.folder / f"{own_rank()}-{step}-{phase}").write_text(text)


@pytest.mark.slow
def test_no_random_generator_is_stepped(settings: RunSettings, shards: Shards, tmp_path: Path) -> None:
    """So none of them belongs to the state. In processes without beartype, which steps Python's."""
    image = replace(settings.train.image, area=0.5, flip=0.5, operations=2, erase=0.5, brightness=0.2)
    settings = changed(settings, mixup=0.2, cutmix=1.0, image=image, label_smoothing=0.1)
    seen = tmp_path / "seen"
    seen.mkdir()

    assert train_group(settings, shards, 2, Dice(seen)) == [0, 0]

    for rank in range(2):
        states = [path.read_text() for path in seen.glob(f"{rank}-*")]
        assert len(states) == 4 * settings.train.steps
        assert len({state.split(" ")[0] for state in states}) == 1, "torch"
        assert len({state.split(" ")[1] for state in states}) == 1, "numpy"
        assert len({state.split(" ")[2] for state in states}) == 1, "random"
