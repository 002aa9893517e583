"""`perceiver verify` and `perceiver inspect` as processes: exit status, words and the object of --json."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import RunSettings
from preprocessing.shards import INDEX, MANIFEST

sys.path.append(str(Path(__file__).parents[2] / "preprocessing"))
from hand_made import by_hand, manifest_of, publish

# MLflow's own libraries warn of each other.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

ROOT = Path(__file__).parents[3]
FIRST = "train-g0000-00000-0123456789ab.tar"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    by_hand(tmp_path / "shards")
    return tmp_path / "shards"


def perceiver(*words: object, cwd: Path = ROOT, **environment: str) -> "subprocess.CompletedProcess[str]":
    known = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *map(str, words)],
        env={**known, "PYTHONPATH": str(ROOT), "COLUMNS": "120", **environment},
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip


def damage(place: Path) -> None:
    data = bytearray((place / FIRST).read_bytes())
    data[700] ^= 1
    (place / FIRST).write_bytes(data)


def test_whole_shards_are_said_to_be_so(place: Path) -> None:
    done = perceiver("verify", place)

    assert (done.returncode, done.stdout) == (0, "")
    digest = manifest_of(place)["digest"][:12]
    assert done.stderr.splitlines()[-1] == (
        f"verify: 3 shards, 15 samples, 3 quarantined: all as the manifest {digest} says"
    )


def test_damage_ends_with_status_1_and_names_shard_sample_and_way_out(place: Path) -> None:
    damage(place)

    done = perceiver("verify", place)

    assert (done.returncode, done.stdout) == (1, "")
    assert "verify: 1 of 3 shards is damaged" in done.stderr
    assert f"  {FIRST}\n    sample {0:024x}: the values of its image were changed\n" in done.stderr
    assert "-> delete it and shard again: it is built anew, bit for bit" in done.stderr
    digest = manifest_of(place)["digest"][:12]
    assert done.stderr.splitlines()[-1] == f"verify: 2 faults: not as the manifest {digest} says"


def test_the_object_of_verify_holds_every_fault(place: Path) -> None:
    damage(place)

    done = perceiver("verify", place, "--json")

    (line,) = done.stdout.splitlines()
    answer = json.loads(line)
    assert done.returncode == 1
    assert answer["damaged"] == [FIRST]
    assert [fault["key"] for fault in answer["faults"]] == [f"{0:024x}", ""]
    assert set(answer["faults"][0]) == {"file", "key", "what", "way_out"}


def test_a_file_that_nobody_names_is_said_and_no_fault(place: Path) -> None:
    (place / "val-g0000-00007-ba9876543210.tar").touch()

    done = perceiver("verify", place)

    assert done.returncode == 0
    assert "val-g0000-00007-ba9876543210.tar belongs to no version" in done.stderr


def test_an_earlier_version_is_asked_for_by_its_digest(place: Path) -> None:
    earlier = manifest_of(place)
    (place / "versions").mkdir()
    (place / "versions" / f"{earlier['digest'][:12]}.json").write_text(json.dumps(earlier))
    publish(place, {**earlier, "parent": earlier["digest"], "found": 99})

    now, then = perceiver("verify", place), perceiver("verify", place, "--version", earlier["digest"])

    assert (now.returncode, then.returncode) == (1, 0)
    assert f"all as the manifest {earlier['digest'][:12]} says" in then.stderr


@pytest.mark.parametrize("command", ["verify", "inspect"])
def test_a_users_mistake_is_answered_with_status_2(tmp_path: Path, place: Path, command: str) -> None:
    nothing = perceiver(command, tmp_path)
    nowhere = perceiver(command)
    misspelt = perceiver(command, place, "--verson", "1")
    no_run = perceiver(command, tmp_path / "none.toml")

    assert [done.returncode for done in (nothing, nowhere, misspelt, no_run)] == [2] * 4
    assert "holds no finished shards: no manifest.json there" in nothing.stderr
    assert f"needs the shards first: perceiver {command} SHARDS" in nowhere.stderr
    assert "Perhaps you meant" in misspelt.stderr
    assert "--version" in misspelt.stderr
    assert "There is no run file" in no_run.stderr
    assert not any("Traceback" in done.stderr for done in (nothing, nowhere, misspelt, no_run))


def test_help_knows_the_commands_and_their_options(tmp_path: Path) -> None:
    general = perceiver("--help", HOME=str(tmp_path))
    special = perceiver("inspect", "--help")

    assert "verify     read every byte" in general.stdout
    assert (special.returncode, special.stderr) == (0, "")
    for word in ("SHARDS", "--sheet", "--samples", "--version", "--tracking.uri"):
        assert word in special.stdout


def test_what_the_shards_hold_is_said_without_a_tar_being_read(place: Path) -> None:
    done = perceiver("inspect", place, "--json", "--sheet", place / "sheet.png")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["samples"] == {"train": 10, "val": 5, "test": 0}
    assert answer["classes"]["cat"] == {"train": 4, "val": 1, "test": 0}
    assert answer["modalities"]["image"] == {
        "dtype": "|u1", "arrays": 15, "bytes": 15 * 8 * 8 * 3, "shapes": 1,
        "least": [8, 8, 3], "median": [8, 8, 3], "most": [8, 8, 3],
    }  # fmt: skip
    assert [(one["reason"], one["inputs"], one["example"]) for one in answer["quarantine"]] == [
        ("truncated", 2, "cat/torn.png"), ("unsupported", 1, "notes.txt"),
    ]  # fmt: skip
    assert answer["generations"][0]["shards"] == 3
    assert answer["sheet"] == str(place / "sheet.png")
    assert (place / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_without_a_store_nothing_is_logged_and_the_way_is_said(tmp_path: Path, place: Path) -> None:
    done = perceiver("inspect", place, cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "not logged: name its store (--tracking.uri" in done.stdout
    assert (tmp_path / "contact-sheet.png").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["contact-sheet.png", "shards"]


def test_a_table_is_in_columns(tmp_path: Path, place: Path) -> None:
    said = perceiver("inspect", place, cwd=tmp_path).stdout.splitlines()

    assert "  class  train  val  test  all" in said
    assert "  cat        4    1     0    5" in said


@pytest.mark.parametrize("named", ["option", "environment", "run file"])
def test_sheet_and_description_are_in_mlflow(
    tmp_path: Path, place: Path, named: str, run_file: Path, settings: RunSettings
) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    words: list[object] = [place, "--tracking.uri", store]
    environment: dict[str, str] = {}
    if named == "environment":
        words, environment = [place], {"MLFLOW_TRACKING_URI": store}
    if named == "run file":
        text = run_file.read_text().replace(
            "[data]\n", f'[tracking]\nuri = "{store}"\n[data]\nshards = "{place}"\n'
        )
        run_file.write_text(text)
        words = [run_file]

    done = perceiver("inspect", *words, "--json", cwd=tmp_path, **environment)

    assert done.returncode == 0, done.stderr
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name(settings.name if named == "run file" else "shards")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    digest = manifest_of(place)["digest"]
    assert run.info.run_name == f"inspect {digest[:12]}"
    assert run.info.status == "FINISHED"
    assert (run.data.params["digest"], run.data.params["samples.train"]) == (digest, "10")
    assert run.data.params["quarantined.truncated"] == "2"
    assert {one.path for one in client.list_artifacts(run.info.run_id)} == {
        "contact-sheet.png",
        "description.json",
    }
    assert (
        f"/#/experiments/{experiment.experiment_id}/runs/{run.info.run_id}?" in json.loads(done.stdout)["run"]
    )


def test_a_store_that_does_not_answer_is_named(place: Path) -> None:
    done = perceiver("inspect", place, "--tracking.uri", "http://127.0.0.1:9")

    assert done.returncode == 1
    assert "No tracking server answers" in done.stderr


def test_a_manifest_that_is_damaged_is_a_fault_and_no_mistake(place: Path) -> None:
    (place / MANIFEST).write_text("{")

    done = perceiver("verify", place)

    assert done.returncode == 1
    assert f"  {MANIFEST}\n" in done.stderr


def test_an_index_that_is_gone_is_a_fault(place: Path) -> None:
    (path,) = (place / INDEX).iterdir()
    path.unlink()

    done = perceiver("verify", place)

    assert done.returncode == 1
    assert "is gone, with 15 rows" in done.stderr
