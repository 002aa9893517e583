"""A user's mistakes: each is answered with the fact and the way out, status 2 and no traceback.

The twelfth, a second run with other settings in the same workspace, is in test_run.py: it needs a first.
"""

from pathlib import Path

import pytest
from ports import free_port
from small_runs import Command, draw_pictures

pytestmark = pytest.mark.whole


@pytest.fixture
def refused(perceiver: Command, run_file: Path) -> Command:
    """`perceiver run` on the small run with options; it must refuse."""

    def run(*options: str, status: int = 2) -> str:
        done = perceiver("run", run_file, *options, check=False)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        assert done.stdout == ""
        return " ".join(done.stderr.replace("│", " ").split())  # out of its box, in one line

    return run


def test_a_wrong_key_in_the_run_file_is_answered_with_the_right_one(refused: Command, run_file: Path) -> None:
    run_file.write_text(run_file.read_text().replace("latents = 4", "latens = 4"))

    said = refused()

    assert said == f"error: {run_file}: model.latens is no setting. Perhaps you meant model.latents."


def test_a_wrong_type_names_the_setting_and_the_value(refused: Command) -> None:
    said = refused("--data.image.size", "large")

    assert "--data.image.size" in said
    assert "large" in said


def test_a_missing_folder_is_named(refused: Command, pictures: Path) -> None:
    said = refused("--data.raw", "nowhere/at-all")

    assert "data.raw is nowhere/at-all: there is no such folder" in said
    assert "[split/]class/file" in said


def test_an_empty_folder_says_what_belongs_there(refused: Command, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    said = refused("--data.raw", str(tmp_path / "empty"))

    assert "empty holds no file. Put the raw files there as `[split/]class/file`" in said


def test_a_single_class_is_nothing_to_tell_apart(refused: Command, tmp_path: Path) -> None:
    said = refused("--data.raw", str(draw_pictures(tmp_path / "one", classes=1)))

    assert "holds one class only, column-0" in said
    assert "Each class needs a folder of its own" in said


def test_a_workspace_that_cannot_be_written_is_named(refused: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refused("--workspace", str(tmp_path / "file" / "work"))

    assert "file/work cannot be written" in said
    assert "--workspace" in said


def test_a_place_of_checkpoints_that_cannot_be_written_is_named(refused: Command, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    said = refused("--checkpoints", str(tmp_path / "file" / "checkpoints"))

    assert "file/checkpoints cannot be written" in said
    assert "--checkpoints" in said


def test_a_batch_larger_than_the_data_gives_both_numbers(refused: Command) -> None:
    said = refused("--train.batch", "5000")

    assert "train.batch is 5000, and the training split holds" in said
    assert "Choose a batch of at most" in said


def test_heads_that_do_not_divide_the_width_get_a_width_that_fits(refused: Command) -> None:
    said = refused("--model.heads", "3")

    assert "model.heads (3) does not divide model.width (16)" in said
    assert "a width of 18 would do" in said


@pytest.mark.parametrize(
    ("option", "value", "fact"),
    [
        ("--model.image.patch", "3", "does not divide the image"),
        ("--model.cross-heads", "5", "does not divide"),
    ],
)
def test_a_model_that_does_not_fit_the_data_is_refused_before_ray(
    refused: Command, option: str, value: str, fact: str
) -> None:
    said = refused(option, value)

    assert fact in said
    assert "shard:" not in said


def test_an_unknown_modality_is_answered_with_the_list(refused: Command) -> None:
    said = refused("--data.modalities", "smell")

    assert "smell" in said
    for modality in ("image", "audio", "mesh", "video"):
        assert modality in said


def test_a_ray_address_without_a_cluster_says_how_to_start_one(refused: Command) -> None:
    address = f"127.0.0.1:{free_port()}"

    said = refused("--cluster.address", address)

    assert f"No Ray cluster answers at {address}" in said
    assert "ray start --head" in said


def test_a_tracking_server_that_is_down_is_named(refused: Command, tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"

    said = refused("--tracking.uri", uri, status=1)

    assert f"No tracking server answers at {uri}" in said
    assert "mlflow server" in said
    assert not (tmp_path / "work").exists(), "nothing is made before the refusal"


@pytest.mark.parametrize("command", ["train", "evaluate", "register"])
def test_a_stage_whose_input_is_missing_says_which_command_makes_it(
    perceiver: Command, run_file: Path, command: str
) -> None:
    done = perceiver(command, run_file, check=False)

    assert done.returncode == 2
    assert "shard" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_misspelt_command_gets_the_nearest(perceiver: Command, run_file: Path) -> None:
    done = perceiver("trian", run_file, check=False)

    assert done.returncode == 2
    assert "Perhaps you meant train" in done.stderr


def test_a_command_without_a_run_file_says_so(perceiver: Command) -> None:
    done = perceiver("run", check=False)

    assert done.returncode == 2
    assert "perceiver run RUN.toml" in done.stderr
