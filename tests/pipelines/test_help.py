"""The help says the commands first, knows every setting where one asks for them, and is laid out once."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from perceiver.train_settings import TrainSettings
from pipelines.__main__ import COMMANDS
from pipelines.help import kept_or_made
from pipelines.usage import ABOUT

SCRIPT = """
import sys
from pipelines.__main__ import main
status = main(sys.argv[1:])
print("tyro" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


def asked(home: Path, *words: str, columns: int = 120) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HOME": str(home), "COLUMNS": str(columns)}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], env=environment, capture_output=True, text=True, check=True
    )


def test_the_second_help_is_the_first_without_its_making(tmp_path: Path) -> None:
    first, second = (asked(tmp_path, "run", "--help") for _ in range(2))

    assert (first.stderr.strip(), second.stderr.strip()) == ("True", "False")
    assert second.stdout == first.stdout
    for setting in fields(TrainSettings):
        assert f"--train.{setting.name.replace('_', '-')}" in second.stdout


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_help_without_a_command_names_the_commands_and_no_setting(tmp_path: Path, words: list[str]) -> None:
    shown = asked(tmp_path, *words).stdout

    lines = shown.splitlines()
    named = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
    assert sorted(named) == sorted(COMMANDS)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 50, "more than a screen"
    assert "`perceiver run --help` lists all settings" in shown
    assert "--train.batch" not in shown


@pytest.mark.parametrize("command", ABOUT)
def test_help_of_a_command_begins_with_what_it_does_and_its_own_options(tmp_path: Path, command: str) -> None:
    shown = asked(tmp_path, command, "--help", columns=80).stdout

    lines, head = shown.splitlines(), shown[: shown.index("--name")]
    assert lines[0] == f"usage: perceiver {command} RUN.toml [-h] [OPTIONS]"
    assert " ".join(head.split()).count(" ".join(ABOUT[command].split())) == 1
    for option in ("--from STAGE", "--until STAGE", "--force STAGE", "--renew\n"):
        assert (option in head) == (command == "run")
    assert ("\n  --all\n" in head) == (command == "show")
    assert max(map(len, lines)) <= 80
    assert len(head.splitlines()) <= 28


def test_a_home_that_cannot_be_written_still_gets_its_help(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert kept_or_made("perceiver", lambda: print("help"), tmp_path / "file" / "cache") == "help"  # noqa: T201
