"""Run files are saved command lines."""

from pathlib import Path

import pytest

from cluster.mistake import UserError
from perceiver.presets import PRESETS
from pipelines.course import Course
from pipelines.outlook import refuse_model
from pipelines.settings import RunSettings, TrackingSettings, as_options, as_params, read, read_with

RUNS = sorted((Path(__file__).parents[2] / "pipelines" / "runs").glob("*.toml"))


def written(folder: Path, text: str) -> str:
    path = folder / "run.toml"
    path.write_text(text)
    return str(path)


LEAST = 'name = "a"\n[data]\nraw = "raw"\n'


def test_every_key_becomes_an_option() -> None:
    table = {
        "name": "a",
        "data": {"modalities": ["image", "audio"], "image": {"size": 8}},
        "train": {"save_every": 3},
    }

    options = list(as_options(table))

    assert options == [
        "--name", "a", "--data.modalities", "image", "audio", "--data.image.size", "8",
        "--train.save-every", "3",
    ]  # fmt: skip


def test_options_win_over_the_run_file(tmp_path: Path) -> None:
    settings = read(written(tmp_path, LEAST + "[train]\nbatch = 8\n"), ["--train.batch", "16"])

    assert settings.train.batch == 16


def test_a_preset_stands_behind_the_run_file_whoever_names_it(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + "[model]\nlatents = 8\n")

    settings = read(path, ["--model.preset=modelnet40"])

    assert settings.model.latents == 8
    assert settings.model.width == PRESETS["modelnet40"]["model.width"]


def test_settings_remember_their_run_file(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST)

    assert read(path, []).run_file == path


def test_workers_get_absolute_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    placed = read(written(tmp_path, LEAST), []).placed()

    assert placed.workspace == str(tmp_path / "work")
    assert placed.data.raw == str(tmp_path / "raw")
    assert placed.shards == str(tmp_path / "work" / "shards")


def test_the_tracking_store_is_sqlite_in_the_workspace_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, LEAST)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    by_default = read(path, ["--workspace", str(tmp_path)]).tracking_uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from.environment")
    from_environment = read(path, []).tracking_uri
    from_option = read(path, ["--tracking.uri", "http://from.option"]).tracking_uri

    assert by_default == f"sqlite:///{tmp_path}/mlflow.db"
    assert (from_environment, from_option) == ("http://from.environment", "http://from.option")


@pytest.mark.parametrize("name", ["a/b", "a:b", "a.b", "", "it's"])
def test_a_name_that_the_registry_would_refuse_is_refused_at_once(name: str, settings: RunSettings) -> None:
    with pytest.raises(ValueError, match="the registry takes no name"):
        RunSettings(name=name, data=settings.data)


def test_a_missing_run_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"There is no run file nowhere\.toml"):
        read("nowhere.toml", [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = digits\n", "(at line 1, column 8)\n  name = digits\n         ^\nText stands in quotes"),
        ('name = "a"\n\t[data\nraw = 1\n', "(at line 2, column 7)\n  \t[data\n  \t     ^\n"),
        ("name =\r\n[data]", "(at line 1, column 7)\n  name =\n        ^\n"),
        ('name = "a"\nlist = [\n', "(at end of document)\nText"),
        ('name = "a', "(at end of document)\nText"),
    ],
)
def test_a_run_file_that_is_no_toml_is_named_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as refused:
        read(written(tmp_path, text), [])

    assert f"{tmp_path}/run.toml is not TOML: " in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[train]\nepoch = 30\n", "train.epoch is no setting. Perhaps you meant train.epochs."),
        ("[trian]\nbatch = 3\n", "trian.batch is no setting. Perhaps you meant train.batch."),
        ("[train]\nworkers = 2\n", "train.workers is no setting. Perhaps you meant cluster.workers."),
        ("[train]\nsave-evry = 2\n", "train.save-evry is no setting. Perhaps you meant train.save-every."),
        ("[train]\nsave_evry = 2\n", "train.save_evry is no setting. Perhaps you meant train.save_every."),
        (
            "[model.image]\npatsch = 2\n",
            "model.image.patsch is no setting. Perhaps you meant model.image.patch.",
        ),
        ("[zoo]\nlions = 2\n", "zoo.lions is no setting. `perceiver run --help` lists them all."),
        ("[model]\nimage = 2\n", "model.image is a table of settings, [model.image], and no setting itself."),
        ('run_file = "x"\n[train]\n', "run_file is no setting."),
    ],
)
def test_a_key_that_is_no_setting_is_named_in_the_run_files_own_words(
    tmp_path: Path, text: str, said: str
) -> None:
    path = written(tmp_path, text if text.startswith("run_file") else LEAST + text)

    with pytest.raises(UserError) as refused:
        read(path, ["--train.batch", "8"])

    assert str(refused.value).startswith(f"{path}: {said}")


def test_all_keys_that_are_no_settings_are_named_at_once(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + "[train]\nepoch = 30\nbach = 3\n")

    with pytest.raises(UserError) as refused:
        read_with(Course, path, [])

    assert [line.split()[1] for line in str(refused.value).splitlines()] == ["train.epoch", "train.bach"]


def test_every_setting_is_a_parameter_as_text(settings: RunSettings) -> None:
    params = as_params(settings)

    assert params["train.batch"] == "12"
    assert params["data.modalities"] == '["image"]'
    assert all(isinstance(value, str) for value in params.values())


@pytest.mark.parametrize("alias", ["latest", "v3", "a b", ""])
def test_an_alias_that_the_registry_would_refuse_is_refused_at_once(alias: str) -> None:
    with pytest.raises(ValueError, match="the registry takes letters, digits"):
        TrackingSettings(alias=alias)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_shipped_run_file_is_understood_and_makes_a_model(path: Path) -> None:
    settings = read(str(path), [])

    refuse_model(settings)
    assert settings.name
    assert path.read_text().startswith("#"), "a run file opens with what it does"


@pytest.mark.parametrize("way", ["mixup", "cutmix"])
def test_point_clouds_are_not_blended(tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path, LEAST + 'modalities = ["image", "mesh"]\n')

    read(path, [])
    with pytest.raises(SystemExit):
        read(path, [f"--train.{way}", "0.5"])

    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"train.{way} is 0.5, and half of one point cloud" in said


def test_several_views_of_an_image_alone_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, both = written(tmp_path, LEAST), LEAST + 'modalities = ["image", "audio"]\n'

    with pytest.raises(SystemExit):
        read(image, ["--model.views", "4"])

    said = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert "model.views is 4, and an image is seen whole" in said
    assert read(written(tmp_path, both), ["--model.views", "4"]).model.views == 4


def test_settings_that_do_not_go_together_are_a_mistake_beside_a_commands_own_options(run_file: Path) -> None:
    with pytest.raises(UserError, match="the registry takes no name with /"):
        read_with(Course, str(run_file), ["--name", "a/b", "--until", "shard"])
