"""The help knows every setting, and is laid out once."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

from perceiver.settings import TrainSettings
from pipelines.help import kept_or_made

SCRIPT = """
import sys
from pipelines.__main__ import main
status = main(["--help"])
print("tyro" in sys.modules, file=sys.stderr)
sys.exit(status)
"""


def asked(home: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "HOME": str(home), "COLUMNS": "120"}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True
    )


def test_the_second_help_is_the_first_without_its_making(tmp_path: Path) -> None:
    first, second = asked(tmp_path), asked(tmp_path)

    assert (first.stderr.strip(), second.stderr.strip()) == ("True", "False")
    assert second.stdout == first.stdout
    for setting in fields(TrainSettings):
        assert f"--train.{setting.name.replace('_', '-')}" in second.stdout


def test_a_home_that_cannot_be_written_still_gets_its_help(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert kept_or_made("perceiver", lambda: print("help"), tmp_path / "file" / "cache") == "help\n"  # noqa: T201
