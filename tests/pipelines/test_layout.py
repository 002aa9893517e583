"""A training goes on with the settings that it began with, or not at all."""

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.mistake import UserError
from pipelines.layout import Layout, binding, refuse_change
from pipelines.settings import RunSettings


def test_a_changed_setting_is_refused_by_name_with_both_values(settings: RunSettings) -> None:
    changed = replace(settings, train=replace(settings.train, rate=0.5), seed=7)

    with pytest.raises(UserError) as refusal:
        refuse_change(binding(settings), changed)

    assert "train.rate: began with 0.003, now 0.5" in str(refusal.value)
    assert "seed: began with 0, now 7" in str(refusal.value)
    assert "perceiver run --renew" in str(refusal.value)
    assert "--workspace" in str(refusal.value)


def test_what_does_not_shape_the_weights_may_change(settings: RunSettings) -> None:
    changed = replace(
        settings,
        name="other",
        workspace="elsewhere",
        model=replace(settings.model, attention="streamed"),
        train=replace(settings.train, steps=99, save_every=1, evaluate_every=1, recompute=True),
        cluster=replace(settings.cluster, workers=(2,)),
        data=replace(settings.data, raw="moved", max_refused=0.5),
    )

    refuse_change(binding(settings), changed)


def test_a_training_from_before_a_setting_was_there_goes_on_with_its_default(settings: RunSettings) -> None:
    began_with = binding(settings)
    del began_with["model.mlp"]

    refuse_change({**began_with, "model.attention": "of long ago"}, settings)

    with pytest.raises(UserError, match=r"model\.mlp: began with gelu, now geglu"):
        refuse_change(began_with, replace(settings, model=replace(settings.model, mlp="geglu")))


def test_checkpoints_lie_in_the_workspace_or_below_the_place_that_is_named(settings: RunSettings) -> None:
    digest = "0123456789abcdef"
    layouts = {
        place: Layout.of(replace(settings, checkpoints=place), digest)
        for place in ("", "here", "/there/", "s3://bucket", "s3://bucket/prefix/")
    }

    assert {place: layout.checkpoints for place, layout in layouts.items()} == {
        "": f"{settings.workspace}/trainings/0123456789ab/checkpoints",
        "here": f"{Path.cwd()}/here/0123456789ab/checkpoints",
        "/there/": "/there/0123456789ab/checkpoints",
        "s3://bucket": "s3://bucket/0123456789ab/checkpoints",
        "s3://bucket/prefix/": "s3://bucket/prefix/0123456789ab/checkpoints",
    }
    assert len({layout.folder for layout in layouts.values()}) == 1


def test_checkpoints_may_move_and_workers_in_other_folders_find_them(settings: RunSettings) -> None:
    moved = replace(settings, checkpoints="here")

    refuse_change(binding(settings), moved)

    assert moved.placed().checkpoints == str(Path.cwd() / "here")
    assert settings.placed().checkpoints == ""


def test_other_data_is_another_training(settings: RunSettings) -> None:
    assert Layout.of(settings, "a" * 64).folder != Layout.of(settings, "b" * 64).folder
