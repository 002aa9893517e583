"""What promote, rollback and lineage are told, and the words with which they refuse."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster.mistake import UserError
from pipelines.models.code_version import code_sha256, code_version
from pipelines.registry.commands import objection
from pipelines.registry.options import LineageOptions, PromoteOptions, parse
from pipelines.tracking.mlflow_champion import How, Move, before
from pipelines.tracking.mlflow_lineage import Version
from pipelines.tracking.store_options import StoreOptions, store_of


def move(number: int, version: int, replaced: int, how: How = "promoted") -> Move:
    return Move(number=number, version=version, replaced=replaced, how=how, time="t", who="w", why="because")


def version(**tags: str) -> Version:
    named = {name.replace("_", "."): value for name, value in tags.items()}
    return Version(model="m", version=3, aliases=(), tags=named, created=0, run_id="")


@pytest.mark.parametrize(
    ("command", "words", "said"),
    [
        ("promote", ["m/1", "--force"], "--force needs --reason"),
        ("rollback", ["m"], "--reason"),
        ("rollback", ["m", "--reason", " "], "--reason is empty"),
        ("lineage", ["m/1", "--source", "a.png"], "give one of MODEL"),
        ("lineage", ["--source", "a.png", "--files", "out.parquet"], "--files goes with MODEL"),
        ("lineage", ["m/1", "--sharts", "x"], "--shards"),
    ],
)
def test_words_that_do_not_fit_are_refused(
    command: str, words: Sequence[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(command, words)

    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("command", ["promote", "rollback", "lineage"])
def test_a_command_without_its_model_says_how_it_is_called(command: str) -> None:
    with pytest.raises(UserError, match=f"perceiver {command} MODEL"):
        parse(command, [])


def test_options_are_read() -> None:
    assert parse("promote", ["m@candidate", "--force", "--reason", "I say so"]) == PromoteOptions(
        model="m@candidate", force=True, reason="I say so"
    )
    assert parse("lineage", ["--source", "a.png"]) == LineageOptions(source="a.png")


def test_a_database_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"

    with pytest.raises(UserError, match="There is no database"):
        store_of(StoreOptions(uri=f"sqlite:///{path}"))
    assert not path.exists()


def test_the_gate_is_overruled_by_force_alone() -> None:
    fine = {"gate_decision": "promoted", "gate_champion": "2", "gate_alias": "champion"}
    back = [move(1, 3, 2), move(2, 2, 3, "rolled back")]

    assert objection(version(**fine), [], 2, "champion") == ""
    assert "never compared" in objection(version(), [], 2, "champion")
    refused = version(**fine | {"gate_decision": "refused", "gate_reason": "it is worse"})
    assert objection(refused, [], 2, "champion") == "it is worse"
    assert "compared with version 2, and champion is version 5" in objection(
        version(**fine), [], 5, "champion"
    )
    assert "champion is version none now" in objection(version(**fine), [], 0, "champion")
    assert "compared with champion, not with best" in objection(version(**fine), [], 2, "best")
    assert "it was rolled back at t (because)" in objection(version(**fine), back, 2, "champion")


def test_a_rollback_goes_down_the_line_of_champions_and_never_to_and_fro() -> None:
    line = (move(1, 1, 0), move(2, 2, 1), move(3, 5, 2))
    once = (*line, move(4, 2, 5, "rolled back"))
    again = (*once, move(5, 7, 2))

    assert (before(line, 5), before(once, 2), before(again, 7)) == (2, 1, 2)
    assert before(line[:1], 1) == 0
    assert before((), 4) == 0


def test_a_champion_that_was_made_in_the_ui_is_in_the_line_too() -> None:
    assert before((move(1, 4, 3),), 4) == 3
    assert before((move(1, 1, 0), move(2, 2, 1)), 9) == 2


def test_the_code_is_known_by_every_byte_of_every_python_file(tmp_path: Path) -> None:
    path = tmp_path / "pipelines" / "a.py"
    path.parent.mkdir()
    path.write_text("x = 1\n")
    (tmp_path / "README.md").write_text("words")
    first = code_sha256(tmp_path)

    (tmp_path / "README.md").write_text("other words")
    same = code_sha256(tmp_path)
    path.write_text("x = 2\n")
    changed = code_sha256(tmp_path)
    path.rename(path.with_name("b.py"))

    assert first == same
    assert len({first, changed, code_sha256(tmp_path)}) == 3


def test_code_outside_of_a_repository_has_a_sum_and_no_commit(tmp_path: Path) -> None:
    assert set(code_version(tmp_path)) == {"code.version", "code.sha256"}
