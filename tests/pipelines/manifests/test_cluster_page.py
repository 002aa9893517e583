"""docs/cluster.md: its perceiver commands are such, its files are written and linted, its YAML is YAML."""

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.__main__ import COMMANDS, FAMILIES, main
from pipelines.manifests.kinds import LAUNCHERS, ON_KUBERNETES
from pipelines.settings import read

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "cluster.md").read_text()
EXAMPLES = ROOT / "cluster" / "examples"
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
OURS = [shlex.split(line)[1:] for line in LINES if line.startswith("perceiver ")]


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def of(command: str) -> list[list[str]]:
    return [words[1:] for words in OURS if words[0] == command]


@pytest.mark.parametrize("words", OURS, ids=lambda words: words[0])
def test_a_command_on_the_page_is_one(words: list[str]) -> None:
    command, rest = words[0], words[1:]

    assert command in COMMANDS
    if command not in FAMILIES:
        assert read(rest[0], rest[1:]).name == "digits"
    else:
        import_module(f"pipelines.{FAMILIES[command]}.options").parse(command, rest)


@pytest.mark.parametrize("number", range(len(of("manifests"))))
def test_the_files_of_the_page_are_written_and_have_no_finding(number: int, tmp_path: Path) -> None:
    words = of("manifests")[number]
    words[words.index("--output") + 1] = str(tmp_path)

    assert main(["manifests", *words]) == 0
    assert main(["lint", str(tmp_path)]) == 0


@pytest.mark.parametrize(("number", "file"), [(0, "raycluster.yaml"), (1, "aws.yaml")])
def test_the_page_submits_as_the_file_itself_says(number: int, file: str, tmp_path: Path) -> None:
    words = of("manifests")[number]
    words[words.index("--output") + 1] = str(tmp_path)
    main(["manifests", *words])

    said = re.search(r"^#   perceiver submit (.*)$", (tmp_path / file).read_text(), re.MULTILINE)

    assert said is not None
    place = ["http://localhost:8265", "--follow"]
    assert [*shlex.split(said[1])[:-1], *place] == of("submit")[number]


def test_names_of_kubernetes_objects_on_the_page_are_those_of_the_files(tmp_path: Path) -> None:
    words = of("manifests")[0]
    words[words.index("--output") + 1] = str(tmp_path)
    main(["manifests", *words])

    names = {
        f"{document['kind'].lower()}/{document['metadata']['name']}"
        for document in (yaml.safe_load(path.read_text()) for path in tmp_path.iterdir())
    }

    assert {"rayjob/digits-run", "cronjob/digits-clock", "raycluster/digits"} <= names
    assert "kubectl get rayjob digits-run" in LINES
    assert "kubectl create job digits-now --from=cronjob/digits-clock" in LINES
    assert "kubectl port-forward service/digits-head-svc 8265" in LINES


def test_files_that_the_page_applies_are_files_that_are_written() -> None:
    named = set(re.findall(r"manifests/([\w-]+)\.yaml", PAGE))

    assert named <= {"volume", "run-file", *ON_KUBERNETES, *LAUNCHERS}
    assert {f"`{name}.yaml`" for name in ("volume", "run-file", *ON_KUBERNETES)} <= set(
        re.findall(r"`[\w.-]+`", PAGE)
    )


@pytest.mark.parametrize("block", re.findall(r"^```ya?ml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
def test_yaml_on_the_page_is_yaml(block: str) -> None:
    document: Any = yaml.safe_load(block)

    assert {"apiVersion", "kind", "metadata"} <= set(document)


def test_other_files_that_the_page_names_are_there() -> None:
    for path in re.findall(r"`((?:cluster|pipelines)/[\w./-]+)`", PAGE):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w./-]+\.md)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path


def test_the_images_tag_names_the_ray_that_is_pinned() -> None:
    pinned = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)

    assert pinned is not None
    for text in (PAGE, (ROOT / "cluster" / "Dockerfile").read_text()):
        assert set(re.findall(r":1-ray([\d.]+\d)", text)) == {pinned[1]}


def test_the_times_on_the_page_are_those_of_the_files() -> None:
    from deployments import deployment

    asked = deployment()

    assert f"gives a drain of {asked.drain_seconds} s and a grace period of {asked.grace_seconds} s" in PAGE


def test_the_examples_are_what_their_commands_write(tmp_path: Path) -> None:
    made = re.search(r"^# Made by: perceiver (.*)$", (EXAMPLES / "raycluster.yaml").read_text(), re.MULTILINE)
    assert made is not None
    words = shlex.split(made[1])
    words[words.index("--output") + 1] = str(tmp_path)

    assert main(words) == 0

    for path in EXAMPLES.iterdir():
        again = (tmp_path / path.name).read_text().replace(str(tmp_path), "cluster/examples")
        assert again == path.read_text(), path.name
