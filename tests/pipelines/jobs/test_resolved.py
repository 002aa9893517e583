"""A resolved run file gives back the settings that it was made from."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from perceiver.train_settings import TrainSettings
from pipelines.jobs.parcel import places, resolved
from pipelines.jobs.resolved import as_toml
from pipelines.settings import RunSettings, read
from preprocessing.settings import DataSettings

RUNS = sorted((Path(__file__).parents[3] / "pipelines" / "runs").glob("*.toml"))
DIGITS = next(run for run in RUNS if run.stem == "digits")


def again(folder: Path, settings: RunSettings) -> RunSettings:
    path = folder / "resolved.toml"
    path.write_text(as_toml(settings), encoding="utf-8")
    return replace(read(str(path), []), run_file="")


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.stem)
def test_every_run_file_is_read_back_as_it_was(run: Path, tmp_path: Path) -> None:
    settings = replace(read(str(run), []), run_file="")

    assert again(tmp_path, settings) == settings


def test_options_that_undo_a_preset_or_empty_a_list_are_read_back(tmp_path: Path) -> None:
    audioset = next(run for run in RUNS if run.stem == "audioset")
    options = ["--model.audio.bands", "None", "--train.milestones", "--model.head-norm", "True"]
    settings = replace(read(str(audioset), [*options, "--cluster.workers", "4", "8"]), run_file="")

    assert settings.model.audio.bands is None
    assert again(tmp_path, settings) == settings


@example(name="del\x7f", workspace='line\nend\\"', rate=1e-05)
@given(
    name=st.text(st.characters(exclude_characters="/:.%\"'", exclude_categories=["Cs"]), min_size=1),
    workspace=st.text(st.characters(exclude_categories=["Cs"])),
    rate=st.floats(min_value=1e-300, max_value=1e300),
)
def test_any_name_place_and_number_stands_in_the_file(name: str, workspace: str, rate: float) -> None:
    settings = RunSettings(
        name=name, workspace=workspace, data=DataSettings(raw="raw"), train=TrainSettings(rate=rate)
    )

    table = tomllib.loads(as_toml(settings))

    assert (table["name"], table["workspace"], table["train"]["rate"]) == (name, workspace, rate)


def test_a_tracking_store_that_nobody_named_is_left_to_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(str(DIGITS), [])
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://of.the.cluster")

    assert again(tmp_path, settings).tracking.uri == "http://of.the.cluster"


def test_the_cluster_gets_absolute_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--workspace", "work", "--data.raw", "s3://bucket/raw/", "--tracking.uri", "sqlite:///x.db"]

    settings = resolved(read(str(DIGITS), [*options, "--cluster.address", "http://head:8265"]))

    assert settings.workspace == str(tmp_path / "work")
    assert settings.data.raw == "s3://bucket/raw"
    assert settings.tracking.uri == f"sqlite:///{tmp_path}/x.db"
    assert settings.cluster.address == "auto"


def test_each_place_is_told_as_it_was_written_and_as_it_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = read(str(DIGITS), ["--workspace", "work", "--data.raw", "s3://bucket/raw"])

    told = places(settings)

    assert told == {
        "workspace": ("work", str(tmp_path / "work")),
        "data.raw": ("s3://bucket/raw", "s3://bucket/raw"),
    }
