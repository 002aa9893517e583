"""What a comparison says: settings that differ, the best figure marked, in lines that fit the terminal."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pipelines.compare.comparison import Comparison, best, steps
from pipelines.compare.side_by_side import lines
from pipelines.tracking.mlflow_runs import Run
from pipelines.tracking.reach import compare_link


def run(name: str, **facts: object) -> Run:
    usual: dict[str, object] = {
        "run_id": f"{name}-0123456789", "name": name, "experiment": "1", "status": "FINISHED",
        "params": {}, "metrics": {}, "shards": "same",
    }  # fmt: skip
    return Run(**{**usual, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("test/accuracy", [0.5, 0.9, 0.7], [1]),
        ("test/loss", [0.5, 0.9, 0.7], [0]),
        ("val/mAP", [0.9, 0.9, 0.7], [0, 1]),
        ("test/accuracy", [0.9, 0.9], []),
        ("test/loss", [None, 0.3], []),
        ("test/loss", [None, 0.3, 0.2], [2]),
        ("test/loss", [math.nan, 0.3, 0.2], [2]),
    ],
)
def test_the_best_is_the_lowest_loss_and_the_highest_of_all_else(
    name: str, values: list[float | None], expected: list[int]
) -> None:
    assert best(name, values) == expected


def test_only_settings_that_differ_are_there_and_those_that_change_no_result_come_last() -> None:
    first = run("a", params={"seed": "0", "train.rate": "0.1", "cluster.workers": "1", "train.clip": "1"})
    second = run("b", params={"seed": "0", "train.rate": "0.2", "cluster.workers": "2"})

    found = Comparison([first, second]).settings

    assert list(found.items()) == [
        ("train.clip", ["1", None]), ("train.rate", ["0.1", "0.2"]), ("cluster.workers", ["1", "2"]),
    ]  # fmt: skip


def test_figures_of_the_test_split_come_first_and_a_run_without_one_has_a_gap() -> None:
    pair = Comparison(
        [
            run(
                "a",
                metrics={"val/loss": 1.0, "test/accuracy": 0.25, "train/loss": 2.0, "workers/000_p50_ms": 3},
            ),
            run("b", metrics={"test/accuracy": 0.5}),
        ]
    )

    table = pair.tables()["figures (* the best)"]

    assert table == {
        "test/accuracy": ["0.2500", "0.5000*"], "val/loss": ["1.0000", "-"], "train/loss": ["2.0000", "-"],
    }  # fmt: skip


def test_runs_of_one_name_are_told_apart_by_their_ids() -> None:
    pair = Comparison([run("a"), run("a", run_id="fedcba9876543210"), run("b")])

    assert pair.names == ["a a-012345", "a fedcba98", "b"]


def test_steps_are_those_that_the_weights_have_learnt_from() -> None:
    assert steps(run("a", params={"train.batch": "12"}, metrics={"train/samples_seen": 720.0})) == 60
    assert steps(run("a")) is None


def test_the_object_is_json_even_where_a_figure_is_no_number() -> None:
    pair = Comparison([run("a", metrics={"test/loss": math.nan}), run("b", metrics={"test/loss": 1.0})])

    said = json.loads(json.dumps(pair.as_object("http://link"), allow_nan=False))

    assert said["metrics"]["test/loss"] == {"values": [None, 1.0], "best": []}
    assert said["link"] == "http://link"


def test_figures_of_other_shards_have_no_best() -> None:
    first = run("a", metrics={"test/accuracy": 0.25})
    second = run("b", metrics={"test/accuracy": 0.5}, shards="other")

    pair = Comparison([first, second])

    assert not pair.same_shards
    assert pair.as_object("")["metrics"]["test/accuracy"]["best"] == []
    table = pair.tables()["figures (of different shards: none is the best)"]
    assert table["test/accuracy"] == ["0.2500", "0.5000"]


WORDS = some.text(some.characters(codec="ascii", categories=("L", "N", "P", "Zs")), max_size=70)
TABLES = some.integers(2, 5).flatmap(
    lambda runs: some.tuples(
        some.lists(WORDS, min_size=runs, max_size=runs),
        some.dictionaries(
            WORDS,
            some.dictionaries(WORDS, some.lists(WORDS, min_size=runs, max_size=runs), max_size=5),
            max_size=3,
        ),
    )
)


@given(TABLES, some.integers(8, 200))
def test_no_line_is_wider_than_the_terminal_and_no_word_is_lost(
    table: tuple[list[str], dict[str, dict[str, list[str]]]], width: int
) -> None:
    names, tables = table

    found = lines(tables, names, width)

    assert max(map(len, found), default=0) <= width
    cells = [cell for rows in tables.values() for row in rows.values() for cell in row]
    letters = sorted("".join("".join(found).split()))
    for cell in cells:
        assert all(letters.count(letter) >= cell.count(letter) for letter in cell.strip() if letter != " ")


def test_a_wide_terminal_has_a_column_for_each_run_and_a_narrow_one_has_them_below_each_other() -> None:
    tables = {"": {"seed": ["0", "1"]}, "work": {"steps": ["10", "20"]}}

    assert lines(tables, ["first", "second"], 80) == [
        "       first  second",
        "seed   0      1",
        "",
        "work",
        "steps  10     20",
    ]
    assert lines(tables, ["first", "second"], 16)[:3] == ["seed", "  first: 0", "  second: 1"]


def test_the_link_holds_all_runs_and_each_experiment_once() -> None:
    link = compare_link("http://host:5000/", 1, [("1", "aa"), ("1", "bb"), ("2", "cc")])

    assert link.startswith("http://host:5000/#/compare-runs?")
    assert "runs=%5B%22aa%22%2C%22bb%22%2C%22cc%22%5D&experiments=%5B%221%22%2C%222%22%5D" in link
    assert compare_link("sqlite:///x", 1234, [("1", "aa")]).startswith("http://127.0.0.1:1234/#/")
