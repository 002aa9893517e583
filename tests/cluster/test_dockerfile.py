"""The image is made from what is here and pinned here, holds no secret, and its user is the manifests' user.

Docker itself is not run: a build needs a registry. The words of the file are looked at, and the one that
lists the requirements is run.
"""

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest

from cluster.kube_pods import UID
from cluster.lint_pods import holds_secret

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "cluster" / "Dockerfile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = (ROOT / "constraints.txt").read_text()


def instructions(word: str = "") -> list[tuple[str, str]]:
    lines = "\n".join(line for line in TEXT.splitlines() if not line.startswith("#")).replace("\\\n", " ")
    found = [line.split(None, 1) for line in lines.splitlines() if line.strip()]
    return [(name, rest) for name, rest in found if not word or name == word]


def sources() -> list[str]:
    return [source for _, rest in instructions("COPY") for source in rest.split()[:-1]]


def ignored() -> list[str]:
    return (ROOT / "cluster" / "Dockerfile.dockerignore").read_text().splitlines()


def test_every_line_is_an_instruction_that_docker_knows() -> None:
    names = [name for name, _ in instructions()]

    assert names[0] == "FROM"
    assert set(names) == {"FROM", "RUN", "ENV", "WORKDIR", "COPY", "USER", "CMD"}


def test_python_is_the_one_that_the_project_is_written_for() -> None:
    ((_, image),) = instructions("FROM")

    tag = re.fullmatch(r"python:(\d+\.\d+)-slim-\w+", image)
    assert tag is not None
    assert f">={tag[1]}" == PROJECT["project"]["requires-python"]
    assert sys.version_info[:2] == tuple(int(number) for number in tag[1].split("."))


def test_whatever_is_copied_is_there_and_is_sent_to_the_builder() -> None:
    sent = [line.removeprefix("!") for line in ignored() if line.startswith("!")]

    assert ignored()[1] == "*"
    for source in sources():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, one) for one in sent), source
    assert sorted(sent) == sorted(sources())


def test_all_rooms_are_in_the_image() -> None:
    rooms = {one.rstrip("*") for one in PROJECT["tool"]["setuptools"]["packages"]["find"]["include"]}

    assert rooms <= set(sources())
    assert {PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]} <= set(sources())


def test_the_requirements_are_the_projects_and_each_is_pinned(tmp_path: Path) -> None:
    (install,) = [rest for _, rest in instructions("RUN") if "requirements.txt" in rest]
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    listing = install.split("&&")[0].replace("python ", f"{sys.executable} ", 1)

    subprocess.run(listing, shell=True, cwd=tmp_path, check=True)

    listed = (tmp_path / "requirements.txt").read_text().splitlines()
    assert listed == PROJECT["project"]["dependencies"]
    for requirement in listed:
        name = requirement.partition("[")[0]
        assert re.search(rf"^{re.escape(name)}==", PINS, re.MULTILINE | re.IGNORECASE), requirement


def test_packages_come_by_the_pins_alone() -> None:
    installs = [one for _, rest in instructions("RUN") for one in rest.split("&&") if "pip install" in one]

    assert len(installs) == 2
    assert all("-c constraints.txt" in one or "--no-deps" in one for one in installs)


def test_what_changes_often_comes_last() -> None:
    names = [rest for _, rest in instructions()]

    packages = next(number for number, rest in enumerate(names) if "-r requirements.txt" in rest)
    code = next(number for number, rest in enumerate(names) if rest == "pipelines pipelines")
    assert packages < code


def test_lists_of_packages_are_not_kept() -> None:
    (system,) = [rest for _, rest in instructions("RUN") if "apt-get" in rest]

    assert "--no-install-recommends" in system
    assert system.rstrip().endswith("rm -rf /var/lib/apt/lists/*")
    assert "PIP_NO_CACHE_DIR=1" in TEXT


def test_it_runs_as_the_user_of_the_manifests() -> None:
    assert instructions("USER")[-1][1] == f"{UID}:{UID}"
    assert f"--uid {UID} " in TEXT


@pytest.mark.parametrize("line", TEXT.splitlines())
def test_no_secret_is_in_it(line: str) -> None:
    assert not any(holds_secret(name) for name in re.findall(r"\b([A-Z_]{4,})=", line))
    assert "://" not in line
