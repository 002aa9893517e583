"""A classifier from a checkpoint answers the same whatever else is in the batch, and lets views vote."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from perceiver.mesh import MeshSpec
from perceiver.model import Perceiver
from perceiver.settings import Labels, ModelSettings
from pipelines.models.classifier import Classifier, description, view_seeds

SETTINGS = ModelSettings(latents=4, width=16, heads=2, blocks=1, layers=1, bands=2)


def saved(folder: Path, views: int, labels: Labels = "one") -> Classifier:
    torch.manual_seed(0)
    settings = replace(SETTINGS, views=views)
    model = Perceiver(settings, {"mesh": MeshSpec.of(settings, points=8, normals=False)}, 3, labels)
    torch.nn.init.normal_(model.head.weight)
    save_file(model.state_dict(), folder / "weights.safetensors")
    (folder / "made.json").write_text(json.dumps(description(model, "abc", "float32")))
    return Classifier.load(folder / "made.json", folder / "weights.safetensors")


@pytest.fixture
def clouds() -> list[dict[str, np.ndarray]]:
    generator = np.random.default_rng(0)
    return [{"mesh": generator.normal(size=(64, 3)).astype(np.float32)} for _ in range(4)]


def test_what_was_described_is_built_again(tmp_path: Path, clouds: list[dict[str, np.ndarray]]) -> None:
    classifier = saved(tmp_path, views=1)

    found = classifier.probabilities(clouds)

    assert classifier.classes == ("a", "b", "c")
    assert found.shape == (4, 3)
    assert found.sum(1) == pytest.approx(np.ones(4), abs=1e-5)


@pytest.mark.parametrize("views", [1, 5])
def test_an_answer_does_not_depend_on_the_batch(
    tmp_path: Path, clouds: list[dict[str, np.ndarray]], views: int
) -> None:
    classifier = saved(tmp_path, views)

    together = classifier.probabilities(clouds)
    alone = np.concatenate([classifier.probabilities([cloud]) for cloud in reversed(clouds)])[::-1]

    assert together == pytest.approx(alone, abs=1e-6)


def test_several_views_are_the_mean_over_their_own_draws(
    tmp_path: Path, clouds: list[dict[str, np.ndarray]]
) -> None:
    classifier = saved(tmp_path, views=3)

    single = [classifier._view(clouds, view_seeds(view, 4)).numpy() for view in range(3)]

    assert not np.allclose(single[0], single[1])
    assert classifier.probabilities(clouds) == pytest.approx(np.mean(single, axis=0), abs=1e-6)


def test_several_labels_have_probabilities_of_their_own(
    tmp_path: Path, clouds: list[dict[str, np.ndarray]]
) -> None:
    classifier = saved(tmp_path, views=2, labels="several")

    found = classifier.probabilities(clouds)

    seen = [classifier.model.collate(clouds, view_seeds(view, 4)) for view in range(2)]
    wanted = torch.stack([classifier.model(one).sigmoid() for one in seen]).mean(0).detach().numpy()
    assert found == pytest.approx(wanted, abs=1e-6)
    assert abs(found.sum(1) - 1).max() > 0.1
