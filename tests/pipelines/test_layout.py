"""A training goes on with the settings that it began with, or not at all."""

from dataclasses import replace

import pytest

from cluster.mistake import UserError
from pipelines.layout import Layout, binding, refuse_change
from pipelines.settings import RunSettings


def test_a_changed_setting_is_refused_by_name_with_both_values(settings: RunSettings) -> None:
    layout = Layout.of(settings, "0123456789abcdef")
    changed = replace(settings, train=replace(settings.train, rate=0.5), seed=7)

    with pytest.raises(UserError) as refusal:
        refuse_change(binding(settings), changed, layout)

    assert "train.rate: began with 0.003, now 0.5" in str(refusal.value)
    assert "seed: began with 0, now 7" in str(refusal.value)
    assert "--workspace" in str(refusal.value)


def test_what_does_not_shape_the_weights_may_change(settings: RunSettings) -> None:
    changed = replace(
        settings,
        name="other",
        workspace="elsewhere",
        model=replace(settings.model, attention="streamed"),
        train=replace(settings.train, steps=99, save_every=1, evaluate_every=1, recompute=True),
        cluster=replace(settings.cluster, workers=2),
        data=replace(settings.data, raw="moved", max_refused=0.5),
    )

    refuse_change(binding(settings), changed, Layout.of(settings, "0123456789abcdef"))


def test_a_training_from_before_a_setting_was_there_goes_on_with_its_default(settings: RunSettings) -> None:
    layout, began_with = Layout.of(settings, "0123456789abcdef"), binding(settings)
    del began_with["model.mlp"]

    refuse_change({**began_with, "model.attention": "of long ago"}, settings, layout)

    with pytest.raises(UserError, match=r"model\.mlp: began with gelu, now geglu"):
        refuse_change(began_with, replace(settings, model=replace(settings.model, mlp="geglu")), layout)


def test_other_data_is_another_training(settings: RunSettings) -> None:
    assert Layout.of(settings, "a" * 64).folder != Layout.of(settings, "b" * 64).folder
