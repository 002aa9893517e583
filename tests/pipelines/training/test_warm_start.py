"""A training that begins with a registered version's weights begins with the same ones whatever happens."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from faults import Fault
from groups import elsewhere, learnt_curves, newest, train_group
from safetensors.torch import load_file, save_file
from small_runs import draw_pictures

from cluster.mistake import UserError
from pipelines.layout import Layout
from pipelines.lease import Lease, lease
from pipelines.models.classifier import DESCRIPTION, WEIGHTS
from pipelines.registering import example, model
from pipelines.settings import RunSettings
from pipelines.tracking.mlflow_registry import Registry
from pipelines.tracking.mlflow_store import Store
from pipelines.training.state import State
from pipelines.training.warm_start import WarmStart, fitted, settle
from preprocessing.job import shard_with
from preprocessing.recipe import Recipe
from preprocessing.shards import Shards

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)

CPU = torch.device("cpu")


@pytest.fixture
def champion(settings: RunSettings, shards: Shards, tmp_path: Path) -> Path:
    """A folder with the weights and the description of a model that has learnt something."""
    state = State.fresh(settings, shards, CPU)
    generator = torch.Generator().manual_seed(5)
    weights = {
        name: torch.randn(value.shape, generator=generator) / 10
        for name, value in state.model.state_dict().items()
    }
    folder = tmp_path / "champion"
    folder.mkdir()
    save_file(weights, folder / WEIGHTS)
    (folder / DESCRIPTION).write_text(json.dumps(state.record()))
    return folder


def begin_with(champion: Path, settings: RunSettings, shards: Shards) -> Layout:
    """Let the training begin with these weights."""
    layout = Layout.of(settings, shards.digest)
    shutil.copytree(champion, layout.warm_start.parent)
    weights = hashlib.sha256((champion / WEIGHTS).read_bytes()).hexdigest()
    WarmStart(asked="champion", model="columns", version=3, weights=weights).seal(layout.warm_start)
    return layout


def test_a_fresh_state_has_the_weights_and_so_has_its_average(
    settings: RunSettings, shards: Shards, champion: Path
) -> None:
    begin_with(champion, settings, shards)

    state = State.fresh(settings, shards, CPU)

    expected = load_file(champion / WEIGHTS)
    for held in (state.model.state_dict(), state.kept.state_dict()):
        assert all(torch.equal(held[name], value) for name, value in expected.items())
    assert state.progress.step == 0


def test_rows_of_the_head_go_by_the_classes_names_and_new_ones_are_fresh() -> None:
    there = {"head.weight": torch.tensor([[1.0], [2.0], [3.0]]), "head.bias": torch.tensor([1.0, 2.0, 3.0])}
    own = {"head.weight": torch.full((4, 1), 9.0), "head.bias": torch.full((4,), 9.0)}

    found = fitted(
        own, {**there, "latents": torch.ones(2)}, ["cat", "dog", "fox"], ["ant", "cat", "fox", "gnu"]
    )

    assert found["head.weight"].tolist() == [[9.0], [1.0], [3.0], [9.0]]
    assert found["head.bias"].tolist() == [9.0, 1.0, 3.0, 9.0]
    assert found["latents"].tolist() == [1.0, 1.0]


def test_a_training_on_grown_classes_keeps_what_was_learnt_of_the_others(
    settings: RunSettings, champion: Path, tmp_path: Path
) -> None:
    raw = draw_pictures(tmp_path / "grown", classes=4)
    (raw / "column-0").rename(raw / "a-new-name")
    grown = replace(
        settings, workspace=str(tmp_path / "grown-work"), data=replace(settings.data, raw=str(raw))
    )
    shards = shard_with(map, grown.data, grown.shards, lambda done, total: None)[0]
    begin_with(champion, grown, shards)

    state = State.fresh(grown, shards, CPU)

    assert shards.classes == ("a-new-name", "column-1", "column-2", "column-3")
    before, now = load_file(champion / WEIGHTS)["head.weight"], state.model.head.weight
    assert torch.equal(now[1:3], before[1:3])
    assert not now[[0, 3]].any()


def test_weights_of_another_model_are_refused_with_each_setting_that_differs(
    settings: RunSettings, shards: Shards, champion: Path
) -> None:
    other = replace(settings, model=replace(settings.model, width=32, bands=3, attention="streamed"))
    begin_with(champion, other, shards)

    with pytest.raises(UserError) as refusal:
        State.fresh(other, shards, CPU)

    said = str(refusal.value)
    assert "The weights of columns/3 do not fit this training" in said
    assert "settings.width: 16 there, 32 now" in said
    assert "inputs.image.bands: 2 there, 3 now" in said
    assert "attention" not in said
    assert "leave out train.warm_start" in said


def test_weights_that_were_changed_on_the_disk_are_refused(
    settings: RunSettings, shards: Shards, champion: Path
) -> None:
    layout = begin_with(champion, settings, shards)
    path = layout.warm_start.parent / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\1\0")

    with pytest.raises(UserError, match=r"are gone or damaged\. Begin anew with --force train"):
        State.fresh(settings, shards, CPU)


@pytest.mark.slow
def test_one_that_is_killed_before_its_first_checkpoint_and_after_it_ends_bit_for_bit_alike(
    settings: RunSettings, shards: Shards, champion: Path, tmp_path: Path
) -> None:
    whole, killed, cold = (elsewhere(settings, tmp_path / name) for name in ("whole", "killed", "cold"))
    for run in (whole, killed):
        begin_with(champion, run, shards)
    faults = [Fault(kind="kill", step=step, mark=tmp_path / f"mark-{step}") for step in (2, 7)]

    ended = [train_group(killed, shards, 1, fault) for fault in faults]
    assert [train_group(run, shards, 1) for run in (killed, whole, cold)] == [[0], [0], [0]]

    assert ended == [[-9], [-9]]
    assert newest(killed, shards).weights == newest(whole, shards).weights
    assert learnt_curves(killed, shards) == learnt_curves(whole, shards)
    assert newest(cold, shards).weights != newest(whole, shards).weights


@pytest.fixture
def held(tmp_path: Path) -> Iterator[Lease]:
    with lease(tmp_path / "lease", "it") as held:
        yield held


@pytest.mark.slow
def test_the_version_is_looked_up_once_and_none_is_an_answer_too(
    settings: RunSettings,
    shards: Shards,
    champion: Path,
    tmp_path: Path,
    held: Lease,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asking = replace(settings, train=replace(settings.train, warm_start="champion"))
    early, late, by_number = (elsewhere(asking, tmp_path / name) for name in ("early", "late", "by-number"))
    by_number = replace(by_number, train=replace(by_number.train, warm_start="1"))
    registry = Registry(f"sqlite:///{tmp_path}/mlflow.db")
    client = Store.connect(registry.uri, tmp_path).client

    none_yet = settle(early, shards, registry, held)
    experiment = client.create_experiment("it", artifact_location=(tmp_path / "files").as_uri())
    for _ in range(2):
        run_id = client.create_run(experiment).info.run_id
        version = registry.register(
            "columns",
            run_id,
            model(champion, Recipe.of(settings.data, shards), tmp_path),
            example(shards),
            {},
        )
    registry.point_alias("columns", "champion", 2)
    found = settle(late, shards, registry, held)
    registry.point_alias("columns", "champion", 1)

    assert version == 2
    assert (none_yet.version, str(none_yet)) == (0, "none")
    assert "there is no columns champion yet; it begins afresh" in capsys.readouterr().err
    assert settle(early, shards, registry, held) == none_yet
    assert settle(late, shards, registry, held) == found
    assert str(found) == "columns/2"
    assert str(settle(by_number, shards, registry, held)) == "columns/1"
    copied = Layout.of(late, shards.digest).warm_start.parent / WEIGHTS
    assert copied.read_bytes() == (champion / WEIGHTS).read_bytes()
    assert State.fresh(late, shards, CPU).model.latents.equal(load_file(champion / WEIGHTS)["latents"])
    without = replace(late, train=replace(late.train, warm_start=""))
    assert settle(without, shards, registry, held) == found
    assert "began with train.warm_start = champion; nothing counts for the next" in capsys.readouterr().err
