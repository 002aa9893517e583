"""A described model is built again from JSON."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from perceiver.description import build as rebuild
from perceiver.description import describe
from perceiver.model import Perceiver


@pytest.mark.parametrize("names", [("image", "mel", "mesh", "video"), ("wave",)])
def test_a_model_rebuilt_from_json_answers_bit_for_bit_the_same(
    names: tuple[str, ...], build: Callable[..., Perceiver], samples: list[dict[str, Any]]
) -> None:
    model = build(*names)
    samples = [{**sample, "audio": sample["mel"]} for sample in samples]
    model.labels = "several"

    again = rebuild(json.loads(json.dumps(describe(model))))
    again.load_state_dict(model.state_dict())

    assert again.settings == model.settings
    assert again.specs == model.specs
    assert (again.classes, again.labels) == (5, "several")
    batch = model.collate(samples, None)
    assert torch.equal(again(batch), model(batch))
