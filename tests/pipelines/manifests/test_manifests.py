"""`perceiver manifests` and `perceiver lint`: what they write and say, and which mistakes they answer."""

import json
import shlex
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.settings import ClusterSettings
from pipelines.__main__ import main
from pipelines.settings import read

RAY = version("ray")
IMAGE = f"registry.example/perceiver:1-ray{RAY}"
EVERY = ["raycluster", "rayjob", "cronjob", "raycronjob", "aws", "gcp"]
NEEDED = [
    "--cron", "0 3 * * *", "--timezone", "Europe/Berlin", "--volume.nfs", "files.example:/export",
    "--gcp.project", "birds-1",
]  # fmt: skip
RUN_FILE = """
name = "Song Birds"
workspace = "work/birds"
[data]
raw = "s3://sounds/birds"
modalities = ["audio"]
[cluster]
workers = [4, 8]
"""


@pytest.fixture
def run(tmp_path: Path) -> str:
    path = tmp_path / "birds.toml"
    path.write_text(RUN_FILE)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


def write(run: str, folder: Path, *words: str) -> int:
    return main(["manifests", run, "--image", IMAGE, "--output", str(folder), *words])


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def refused(capsys: pytest.CaptureFixture[str], run: str, folder: Path, *words: str) -> str:
    assert write(run, folder, *words) == 2
    assert not folder.exists()
    return capsys.readouterr().err


def test_every_kind_is_written_and_the_linter_has_nothing_to_say(
    run: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(run, folder, "--kind", *EVERY, *NEEDED, "--json") == 0
    answer = json.loads(capsys.readouterr().out)

    assert [Path(file).stem for file in answer["files"]] == ["volume", "run-file", *EVERY]
    assert answer["cluster"] == "song-birds"
    assert main(["lint", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"findings": [], "documents": 8}


def test_the_entrypoint_reads_as_the_same_run_with_places_that_nodes_see(run: str, folder: Path) -> None:
    write(run, folder, "--kind", "rayjob", "--train.epochs", "3", "--tracking.uri", "http://mlflow:5000")

    command = shlex.split(load(folder / "rayjob.yaml")["spec"]["entrypoint"])
    inside = folder / "run.toml"
    inside.write_text(load(folder / "run-file.yaml")["data"]["run.toml"])
    settings = read(str(inside), command[3:])
    assert command[:3] == ["perceiver", "run", "/etc/perceiver/run.toml"]
    assert settings.workspace == "/mnt/perceiver/work/birds"
    assert settings.data.raw == "s3://sounds/birds"
    assert settings.train.epochs == 3
    assert settings.tracking.uri == "http://mlflow:5000"
    assert settings.cluster == ClusterSettings(
        address="auto", workers=(4, 8), cpus_per_worker=4, autoscales=True
    )


def test_options_win_over_the_run_file_once(run: str, folder: Path) -> None:
    write(run, folder, "--cluster.workers", "2", "--cluster.cpus_per_worker=3", "--data.raw", "elsewhere")

    cluster, job = load(folder / "raycluster.yaml"), load(folder / "rayjob.yaml")
    words = shlex.split(job["spec"]["entrypoint"])
    (group,) = cluster["spec"]["workerGroupSpecs"]
    assert (
        group["maxReplicas"],
        group["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"],
    ) == (2, "3")
    assert ("--data.raw", "/mnt/perceiver/elsewhere") in pairwise(words)
    assert words.count("--data.raw") == words.count("--cluster.cpus-per-worker") == 1
    assert "--cluster.cpus_per_worker=3" not in words


def test_raw_files_on_the_volume_have_to_be_brought_there(
    run: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run, folder, "--data.raw", "s3://sounds/birds")
    assert "bring them" not in capsys.readouterr().err

    write(run, folder, "--data.raw", "birds")
    assert "raw files are read at /mnt/perceiver/birds, on the volume: bring them" in capsys.readouterr().err


def test_each_file_says_what_it_is_how_it_is_used_and_how_it_was_made(run: str, folder: Path) -> None:
    write(run, folder, "--kind", *EVERY, *NEEDED)

    for path in folder.iterdir():
        comment = [line for line in path.read_text().splitlines() if line.startswith("#")]
        assert comment[-1].startswith(f"# Made by: perceiver manifests {run} --image {IMAGE}")
    assert "perceiver submit" in (folder / "raycluster.yaml").read_text()
    assert "ALPHA" in (folder / "raycronjob.yaml").read_text()
    assert "grace > drain > checkpoint" in (folder / "rayjob.yaml").read_text()


def test_the_command_ends_with_what_to_do_next(
    run: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run, folder)

    said = capsys.readouterr().err
    assert "kubectl -n default create secret generic perceiver-ray-token" in said
    assert (
        f"kubectl apply -f {folder}/volume.yaml -f {folder}/run-file.yaml -f {folder}/raycluster.yaml" in said
    )
    assert "no tracking server is named" in said


def test_the_same_command_writes_the_same_bytes(run: str, folder: Path) -> None:
    write(run, folder)
    first = {path.name: path.read_bytes() for path in folder.iterdir()}

    write(run, folder)

    assert {path.name: path.read_bytes() for path in folder.iterdir()} == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--image", "registry.example:5000/perceiver"], "has no tag"),
        (["--image", "perceiver:latest"], f"as perceiver:1-ray{RAY}"),
        (["--image", "perceiver:1-ray2.9.0"], f"has Ray 2.9.0, and this is Ray {RAY}"),
        (["--image", ""], "cluster/Dockerfile makes it"),
        (["--kind", "cronjob"], '--cron "0 3 \\* \\* \\*"'),
        (["--cron", "0 3 * *"], "five fields"),
        (["--cron", "0 24 * * *"], "its hour is 24, and may be 0 to 23"),
        (["--cron", "0 3 * * someday"], "its weekday is someday"),
        (["--cron", "0 3 * * *", "--timezone", "Europe/Berln"], "Perhaps you meant Europe/Berlin"),
        (["--kind", "aws"], "--volume.nfs HOST:/EXPORT"),
        (["--kind", "gcp", "--volume.nfs", "a:/b"], "--gcp.project ID"),
        (["--kind", "gcp", *NEEDED, "--cluster.gpus-per-worker", "1"], "--gcp.image"),
        (["--spot", "9"], "--spot is 9, and cluster.workers 8"),
        (
            ["--workspace", "/home/me/birds"],
            "workspace is /home/me/birds, which the cluster's nodes do not see",
        ),
        (["--workspace", "../birds"], "which the cluster's nodes do not see"),
        (["--data.raw", "~/birds"], "or a bucket: --data.raw s3://bucket/prefix"),
        (["--data.raw", "/mnt/perceiver2/birds"], "do not see"),
        (["--workspace", "s3://b/birds"], "do not see"),
        (["--tracking.uri", "http://me:hunter2@mlflow"], "--env-secret NAME"),
        (["--tracking.uri", "http://localhost:5000"], "would look for the server in itself"),
        (["--outpt", "x"], "Perhaps you meant --output"),
    ],
)
def test_a_mistake_is_answered_with_the_way_out(
    run: str, folder: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    answer = refused(capsys, run, folder, *words)

    assert said.replace("\\", "") in answer
    assert "hunter2" not in answer
    assert "Traceback" not in answer


@pytest.mark.parametrize(
    "words",
    [["--memory-gib", "0"], ["--spot-nodes", "spot"], ["--volume.path", "mnt"], ["--volume.nfs", "host"],
     ["--kind", "helm"], ["--train.epoch", "3"]],
)  # fmt: skip
def test_a_value_that_cannot_be_ends_with_status_2(run: str, folder: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        write(run, folder, *words)

    assert ended.value.code == 2
    assert not folder.exists()


def test_a_folder_that_cannot_be_made_is_said(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()

    assert write(run, tmp_path / "file" / "folder") == 2
    assert "Name another --output" in capsys.readouterr().err


def test_a_place_on_the_volume_stays_as_it_is(run: str, folder: Path) -> None:
    write(run, folder, "--volume.path", "/data", "--workspace", "/data/a", "--data.shards", "b/../c")

    words = shlex.split(load(folder / "rayjob.yaml")["spec"]["entrypoint"])
    assert ("--workspace", "/data/a") in pairwise(words)
    assert ("--data.shards", "/data/c") in pairwise(words)


def test_findings_are_told_with_file_place_fact_and_way_out_and_end_with_status_1(
    run: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(run, folder, "--kind", "cronjob", *NEEDED)
    path = folder / "cronjob.yaml"
    path.write_text(path.read_text().replace("Forbid\n", "Allow\n"))
    capsys.readouterr()

    assert main(["lint", str(path), "--json"]) == 1

    told = capsys.readouterr()
    (finding,) = json.loads(told.out)["findings"]
    assert finding == {
        "file": str(path), "path": "CronJob/song-birds-clock spec.concurrencyPolicy", "rule": "overlap",
        "fact": "concurrencyPolicy is Allow: two runs may be at work at once", "way_out": "Set it to Forbid.",
    }  # fmt: skip
    assert f"{path}: CronJob/song-birds-clock spec.concurrencyPolicy" in told.err
    assert told.err.splitlines()[-1] == "lint: 1 finding in 1 document of 1 file"


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "There is no file"), ("a: [", "is not YAML"), ("", "no findings in no document")],
)
def test_files_that_cannot_be_read_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, said: str
) -> None:
    path = tmp_path / "a.yaml"
    if content is not None:
        path.write_text(content)

    status = main(["lint", str(path)])

    assert status == (0 if content == "" else 2)
    assert said in capsys.readouterr().err


def test_an_empty_folder_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(tmp_path)]) == 2
    assert "holds no .yaml or .yml file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["manifests", "lint"])
def test_nothing_named_is_answered_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command]) == 2
    assert f"perceiver {command} " in capsys.readouterr().err


@pytest.mark.parametrize("command", ["manifests", "lint"])
def test_help_names_the_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])

    assert ended.value.code == 0
    assert ("--checkpoint-seconds" if command == "manifests" else "FILE") in capsys.readouterr().out
