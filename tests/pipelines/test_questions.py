"""Answers go to stdout, where another program reads on; progress, warnings and errors never do."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.mistake import AwayError
from pipelines.__main__ import main
from pipelines.jobs.following import _patient  # pyright: ignore[reportPrivateUsage]
from pipelines.progress import answering, progress, say
from pipelines.settings import RunSettings, as_params

ROOT = Path(__file__).parents[2]
Captured = pytest.CaptureFixture[str]


def test_an_answer_is_on_stdout_and_nothing_else_is_said(run_file: Path, capsys: Captured) -> None:
    status = main(["show", str(run_file)])

    said = capsys.readouterr()
    assert (status, said.err) == (0, "")
    assert "shard     would run: no finished shards there" in said.out


def test_show_lists_what_somebody_has_chosen_and_with_all_every_setting(
    run_file: Path, settings: RunSettings, capsys: Captured
) -> None:
    main(["show", str(run_file)])
    few = capsys.readouterr().out
    main(["show", str(run_file), "--all", "--train.ema", "0.25"])
    every = capsys.readouterr().out

    listed = [line.split(" = ")[0] for line in few.splitlines() if " = " in line]
    assert {"  name", "  data.raw", "  train.batch", "  model.latents"} <= {*listed}
    assert "  train.optimizer" not in listed
    assert f"  the other {len(as_params(settings)) - len(listed)} settings are the usual ones (--all " in few
    assert [line.split(" = ")[0].strip() for line in every.splitlines() if " = " in line] == [
        *as_params(settings)
    ]
    assert "  train.ema = 0.25\n" in every
    assert "usual" not in every


def test_before_sharding_show_says_what_the_raw_files_make(run_file: Path, capsys: Captured) -> None:
    main(["show", str(run_file), "--json"])

    reason = json.loads(capsys.readouterr().out)["stages"]["shard"]
    assert reason.startswith("no finished shards there; the raw files make 72 samples of 3 classes (train ")


def test_with_json_stdout_has_the_object_alone_and_the_words_are_on_stderr(
    run_file: Path, capsys: Captured
) -> None:
    status = main(["show", str(run_file), "--json"])

    said = capsys.readouterr()
    assert status == 0
    assert json.loads(said.out)["stages"]["shard"]
    assert "shard     would run: no finished shards there" in said.err


@pytest.mark.parametrize("command", ["show", "shard"])
def test_an_error_is_on_stderr_whatever_was_asked(run_file: Path, capsys: Captured, command: str) -> None:
    status = main([command, str(run_file), "--data.raw", "nowhere"])

    said = capsys.readouterr()
    assert (status, said.out) == (2, "")
    assert said.err.startswith("error: ")


def test_only_questions_answer_on_stdout(tmp_path: Path, capsys: Captured) -> None:
    listed = main(["schedule", "list", "--workspace", str(tmp_path)])
    list_said = capsys.readouterr()
    ran = main(["schedule", "run-now", "--workspace", str(tmp_path)])
    run_said = capsys.readouterr()

    assert (listed, ran) == (0, 2)
    assert (list_said.err, run_said.out) == ("", "")
    assert "nothing is scheduled" in list_said.out


def test_progress_and_warnings_stay_on_stderr_amid_an_answer(capsys: Captured) -> None:
    with answering(), progress("look") as advance:
        advance(1, 2, "")
        say("the answer")
        advance(2, 2, "")
        _patient(AwayError("It is gone."), None)

    said = capsys.readouterr()
    assert said.out == "the answer\n"
    assert "look: 2 of 2 samples" in said.err
    assert "lost the connection: It is gone." in said.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [["show", "RUN"], ["show", "RUN", "--json"], ["--help"], ["inspect", "--help"]]
)
def test_whoever_reads_no_further_ends_it_quietly(run_file: Path, words: list[str]) -> None:
    command = [
        sys.executable,
        "-m",
        "pipelines",
        *(str(run_file) if word == "RUN" else word for word in words),
    ]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}

    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as asked:  # type: ignore[call-overload]
        asked.stdout.close()  # nobody ever reads, as after `| true`
        said = asked.stderr.read()

    assert asked.returncode == 0
    assert "Error" not in said
