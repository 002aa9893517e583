"""Rows of raw files and of arrays are answered as the stored samples are; a bad row costs no other row."""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import trimesh
from PIL import Image
from registered_models import Registered, apart, untrained

from pipelines.models.answering import Answer, answers
from pipelines.settings import RunSettings
from preprocessing.reading import Reader
from preprocessing.settings import AudioSettings, ImageSettings, MeshSettings, Modality

ENDINGS = {"image": ".png", "audio": ".wav", "mesh": ".off"}


def picture(path: Path, *, seed: int) -> None:
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def sound(path: Path, *, seed: int) -> None:
    values = np.random.default_rng(seed).integers(-30_000, 30_000, 400).astype(np.int16)
    soundfile.write(path, values, 8000, subtype="PCM_16")


def shape(path: Path, *, seed: int) -> None:
    extents = np.random.default_rng(seed).uniform(0.5, 2, 3)
    trimesh.creation.box(extents=extents).export(path)


MAKERS: dict[str, Callable[..., None]] = {"image": picture, "audio": sound, "mesh": shape}


@pytest.fixture
def made(settings: RunSettings, tmp_path: Path) -> Callable[..., Registered]:
    """A model of these modalities, on twelve samples of two classes."""

    def make(*modalities: Modality) -> Registered:
        raw = tmp_path / "files"
        for number in range(12):
            for modality in modalities:
                path = raw / "test" / f"class-{number % 2}" / f"{number:02d}{ENDINGS[modality]}"
                for place in (path, raw / "train" / f"class-{number % 2}" / path.name):
                    place.parent.mkdir(parents=True, exist_ok=True)
                    MAKERS[modality](place, seed=number)
        data = replace(
            settings.data,
            raw=str(raw),
            modalities=modalities,
            image=ImageSettings(size=8),
            audio=AudioSettings(rate=8000, seconds=0.05, form="raw"),
            mesh=MeshSettings(stored=64, points=32),
        )
        return untrained(replace(settings, data=data), tmp_path / "model")

    return make


def stored(model: Registered) -> tuple[Reader, np.ndarray]:
    """The test samples, and what the model says of them."""
    reader = Reader(model.shards, "test")
    found = model.classifier.probabilities(reader.read(range(len(reader))))
    assert len(found) == 12
    assert apart(found)
    return reader, found


def raw_rows(model: Registered, sources: list[str]) -> list[dict[str, Any]]:
    """The files of these samples as a client sends them, with their names."""
    rows: list[dict[str, Any]] = []
    for source in sources:
        stem = Path(model.settings.data.raw, source).with_suffix("")
        files = {
            modality: base64.b64encode(stem.with_suffix(ENDINGS[modality]).read_bytes()).decode()
            for modality in model.settings.data.modalities
        }
        rows.append({**files, "source": source})
    return rows


def found(answered: list[Answer]) -> np.ndarray:
    return np.stack([one.found for one in answered if one.found is not None])


@pytest.mark.parametrize(
    "modalities", [("image",), ("audio",), ("mesh",), ("image", "audio", "mesh")], ids="+".join
)
def test_raw_files_are_answered_as_the_stored_samples(
    made: Callable[..., Registered], modalities: tuple[Modality, ...]
) -> None:
    model = made(*modalities)
    reader, expected = stored(model)

    answered = answers(model.classifier, model.recipe, raw_rows(model, reader.sources))

    assert found(answered) == pytest.approx(expected, abs=1e-6)


def test_a_sound_and_a_mesh_need_no_name_to_be_told_apart_from_others(
    made: Callable[..., Registered], tmp_path: Path
) -> None:
    sounds = made("audio")
    reader, expected = stored(sounds)
    path = Path(sounds.settings.data.raw, reader.sources[0])
    soundfile.write(tmp_path / "same.flac", *soundfile.read(path, dtype="int16"))

    flac, wav = answers(
        sounds.classifier,
        sounds.recipe,
        [{"audio": (tmp_path / "same.flac").read_bytes()}, {"audio": path.read_bytes()}],
    )

    assert found([flac, wav]) == pytest.approx(expected[[0, 0]], abs=1e-6)


def test_a_mesh_without_a_name_is_answered_the_same_every_time(made: Callable[..., Registered]) -> None:
    model = made("mesh")
    rows = [{"mesh": row["mesh"]} for row in raw_rows(model, Reader(model.shards, "test").sources[:2])]

    first = found(answers(model.classifier, model.recipe, rows))
    again = found(answers(model.classifier, model.recipe, rows[::-1]))[::-1]

    assert first == pytest.approx(again, abs=1e-6)


def test_arrays_of_any_kind_are_answered_as_the_stored_ones(made: Callable[..., Registered]) -> None:
    model = made("image", "mesh")
    reader, expected = stored(model)
    samples = reader.read(range(12))
    kinds: list[dict[str, Any]] = [
        samples[0],
        {name: array.tolist() for name, array in samples[1].items()},
        {"image": samples[2]["image"].astype(np.float64), "mesh": samples[2]["mesh"].astype(np.float64)},
        {"image": samples[3]["image"], "mesh": raw_rows(model, reader.sources[3:4])[0]["mesh"],
         "source": reader.sources[3]},
    ]  # fmt: skip

    answered = answers(model.classifier, model.recipe, kinds)

    assert found(answered) == pytest.approx(expected[:4], abs=1e-6)


def test_a_bad_row_says_why_and_the_others_are_answered(made: Callable[..., Registered]) -> None:
    model = made("image")
    reader, expected = stored(model)
    (good,) = raw_rows(model, reader.sources[:1])
    cut = base64.b64encode(base64.b64decode(good["image"])[:-60]).decode()
    bad: dict[str, Any] = {
        "not_media": "AAAA", "empty": "", "truncated": cut, "incomplete": None, "unsupported": [[1, 2], [3]],
    }  # fmt: skip

    answered = answers(
        model.classifier, model.recipe, [good, *({"image": one} for one in bad.values()), good]
    )

    assert [one.refused for one in answered] == ["", *bad, ""]
    assert all(one.detail for one in answered[1:-1])
    assert found(answered) == pytest.approx(expected[[0, 0]], abs=1e-6)


@pytest.mark.parametrize(
    ("value", "reason", "words"),
    [
        ("no base64!", "not_media", "no base64"),
        (float("nan"), "incomplete", "no image"),
        (np.full((8, 8, 3), 300), "unsupported", "whole numbers from 0 to 255"),
        (np.full((8, 8, 3), 0.5), "unsupported", "whole numbers from 0 to 255"),
        (np.zeros((9, 8, 3), np.uint8), "unsupported", "(9, 8, 3)"),
        ({"a": 1}, "unsupported", "no array"),
        (5, "unsupported", "no array"),
    ],
)
def test_a_value_that_is_neither_is_refused_in_words(
    made: Callable[..., Registered], value: Any, reason: str, words: str
) -> None:
    model = made("image")

    (answer,) = answers(model.classifier, model.recipe, [{"image": value}])

    assert answer.refused == reason
    assert words in answer.detail


def test_points_that_are_no_numbers_are_refused(made: Callable[..., Registered]) -> None:
    model = made("mesh")

    (answer,) = answers(model.classifier, model.recipe, [{"mesh": np.full((64, 3), np.inf)}])

    assert answer.refused == "non_finite"


def test_a_model_without_a_recipe_answers_arrays_and_refuses_files(made: Callable[..., Registered]) -> None:
    model = made("image")
    reader, expected = stored(model)

    array, file = answers(model.classifier, None, [reader.read([0])[0], *raw_rows(model, reader.sources[:1])])

    assert found([array]) == pytest.approx(expected[:1], abs=1e-6)
    assert file.refused == "unsupported"
