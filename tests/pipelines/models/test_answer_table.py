"""A table of answers holds all of them or is not there, and says of each input what there is to say."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from cluster.mistake import UserError
from cluster.storage import store
from pipelines.models.answer_table import ROW_GROUP, answer_file, as_table, refuse_present
from pipelines.models.answering import Answer
from pipelines.models.inputs import Shown
from preprocessing.refusal import Refused

CLASSES = ("cat", "dog")
CAT = Answer(found=np.array([0.75, 0.25], np.float32))
DOG = Answer(found=np.array([0.125, 0.875], np.float32))
NONE = Answer(refused="empty", detail="zero bytes")


def shown(*labels: str | None) -> list[Shown]:
    return [Shown(f"{number}.png", label, Refused("empty", "")) for number, label in enumerate(labels)]


def test_each_input_has_a_row_and_what_is_not_known_is_null() -> None:
    table = as_table(shown(None, None), [CAT, NONE], CLASSES, every=True)

    assert table.to_pylist() == [
        {"source": "0.png", "class": "cat", "probability": 0.75, "refused": None, "detail": None,
         "probabilities": {"cat": 0.75, "dog": 0.25}},
        {"source": "1.png", "class": None, "probability": None, "refused": "empty", "detail": "zero bytes",
         "probabilities": None},
    ]  # fmt: skip


def test_probabilities_and_labels_are_there_where_they_are_asked_for_and_known() -> None:
    plain = as_table(shown(None), [DOG], CLASSES, every=False)
    labelled = as_table(shown("dog"), [DOG], CLASSES, every=False)

    assert "probabilities" not in plain.column_names
    assert "label" not in plain.column_names
    assert labelled["label"].to_pylist() == ["dog"]


def test_a_table_in_which_all_were_refused_has_the_same_columns() -> None:
    answered = as_table(shown(None), [CAT], CLASSES, every=True)
    refused = as_table(shown(None), [NONE], CLASSES, every=True)

    assert refused.schema == answered.schema


def test_what_was_written_is_counted(tmp_path: Path) -> None:
    with answer_file(str(tmp_path / "new" / "out.parquet")) as (written, file):
        written.add(as_table(shown("cat", "cat", "dog;cat"), [CAT, NONE, DOG], CLASSES, every=False), file)

    assert (written.count, written.right) == (3, 2)
    assert (written.classes, written.refused) == ({"cat": 1, "dog": 1}, {"empty": 1})
    assert len(pq.read_table(tmp_path / "new" / "out.parquet")) == 3


def test_many_answers_are_written_in_pieces_and_all_are_there(tmp_path: Path) -> None:
    table = as_table(shown(*[None] * 1000), [DOG] * 1000, CLASSES, every=False)

    with answer_file(str(tmp_path / "out.parquet")) as (written, file):
        for _ in range(20):
            written.add(table, file)

    found = pq.ParquetFile(tmp_path / "out.parquet")
    assert found.metadata.num_rows == 20_000 > ROW_GROUP
    assert found.metadata.num_row_groups == 2


def test_a_failure_leaves_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_bytes(b"before")

    def fail_half_way() -> None:
        with answer_file(str(tmp_path / "out.parquet")) as (written, file):
            written.add(as_table(shown(None), [CAT], CLASSES, every=False), file)
            written.flush(file)
            raise ValueError("any")

    with pytest.raises(ValueError, match="any"):
        fail_half_way()

    assert (tmp_path / "out.parquet").read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.parquet"]


def test_an_output_that_is_there_is_refused_and_so_is_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "out.parquet").write_bytes(b"before")

    with pytest.raises(UserError, match="--force"):
        refuse_present(str(tmp_path / "out.parquet"))
    with pytest.raises(UserError, match=r"file\.parquet"):
        refuse_present(str(tmp_path / "out.csv"))
    refuse_present(str(tmp_path / "other.parquet"))


@pytest.mark.s3
def test_a_bucket_holds_the_whole_table(bucket: str) -> None:
    with answer_file(f"s3://{bucket}/some/out.parquet") as (written, file):
        written.add(as_table(shown(None), [CAT], CLASSES, every=True), file)

    home = store(f"s3://{bucket}/some")
    assert [one.name for one in home.list()] == ["out.parquet"]
    assert home.read("out.parquet")[:4] == b"PAR1"
    with pytest.raises(UserError, match="--force"):
        refuse_present(f"s3://{bucket}/some/out.parquet")
