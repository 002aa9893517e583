"""What a person gets wrong in `perceiver predict` is said before Ray or MLflow start, with the way out."""

from pathlib import Path

import pytest

from pipelines.__main__ import main

STORE = ["--tracking.uri", "http://127.0.0.1:9"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs the model and the input first"),
        (["digits@champion", "--output", "x.parquet"], "needs the model and the input first"),
        (["digits@champion", "raw"], "needs --output FILE.parquet"),
        (
            ["digits", "raw", "--output", "x.parquet", *STORE],
            "Which version of digits? Write digits@ALIAS or digits/VERSION",
        ),
        (["digits@champion", ".", "--output", "x.parquet"], "Which registry? Name its store"),
        (["digits@champion", "raw", "--output", "x.csv", *STORE], "name a file.parquet"),
        (["digits@champion", "nowhere", "--output", "x.parquet", *STORE], "there is no such folder or file"),
        (
            ["digits@champion", ".", "--output", "x.parquet", "--explain", "/dev/null/looks", *STORE],
            "/dev/null/looks cannot be written",
        ),
        (
            ["digits@champion", ".", "--output", "x.parquet", "--cluster.address", "nowhere", *STORE],
            "host:port",
        ),
    ],
)
def test_a_mistake_is_answered_with_the_way_out(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)

    status = main(["predict", *words])

    assert status == 2
    assert said in capsys.readouterr().err
    assert not [*tmp_path.glob("*.parquet")]


def test_a_registry_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert main(["predict", "digits@champion", ".", "--output", "x.parquet", *STORE]) == 1

    assert "No tracking server answers" in capsys.readouterr().err
    assert not [*tmp_path.glob("*.parquet")]


def test_an_output_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.parquet").write_bytes(b"before")

    assert main(["predict", "digits@champion", ".", "--output", "x.parquet", *STORE]) == 2

    assert "--force" in capsys.readouterr().err
    assert (tmp_path / "x.parquet").read_bytes() == b"before"
