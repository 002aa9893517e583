"""A recipe survives JSON, tells other decoders apart, and refuses shards that hold other arrays."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from making import pictures, settings, sharded

from cluster.mistake import UserError
from preprocessing.recipe import Recipe
from preprocessing.settings import DataSettings, ImageSettings


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    asked = settings(pictures(tmp_path / "raw", 5), decoder_seconds=7.0)
    return Recipe.of(asked, sharded(asked, tmp_path / "shards")[0])


def test_a_recipe_is_read_as_it_was_written_but_for_the_place(recipe: Recipe) -> None:
    again = Recipe.read(recipe.text())

    plain = DataSettings(raw="", image=recipe.settings.image, decoder_seconds=7.0)
    assert again == Recipe(settings=plain, decoders=recipe.decoders)
    assert again.objections() == []
    assert [one.partition("==")[0] for one in again.libraries] == ["pillow"]


def test_another_decoder_is_named_with_both_versions(recipe: Recipe) -> None:
    other = replace(recipe, decoders={"image": "image-1 pillow==1.0"})

    (objection,) = other.objections()

    assert "image-1 pillow==1.0" in objection
    assert recipe.decoders["image"] in objection


def test_shards_with_other_arrays_are_refused_by_the_setting_that_differs(
    recipe: Recipe, tmp_path: Path
) -> None:
    other = settings(tmp_path / "raw", image=ImageSettings(size=16), val=0.3)
    shards, _ = sharded(other, tmp_path / "others")

    with pytest.raises(UserError, match=r"data.image.size: 16 there, 8 in the model's"):
        recipe.refuse_others(shards)


def test_shards_of_another_split_or_size_fit(recipe: Recipe, tmp_path: Path) -> None:
    other = settings(tmp_path / "raw", shard_size=3, val=0.3)
    shards, _ = sharded(other, tmp_path / "others")

    recipe.refuse_others(shards)


def test_shards_of_another_modality_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    shards, _ = sharded(recipe.settings, tmp_path / "shards")

    with pytest.raises(UserError, match=r"hold image; the model takes audio"):
        replace(recipe, settings=replace(recipe.settings, modalities=("audio",))).refuse_others(shards)


def test_a_recipe_of_a_newer_version_is_refused_in_words(recipe: Recipe) -> None:
    newer = json.loads(recipe.text())
    newer["settings"]["image"]["colours"] = 4

    with pytest.raises(UserError, match="newer version"):
        Recipe.read(json.dumps(newer))
