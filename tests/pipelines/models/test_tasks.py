"""How many texts of a plan one task answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.models.predicting import TOGETHER, tasks


@pytest.mark.parametrize(
    ("texts", "slots", "wanted"),
    [(1, 2, 1), (7, 8, 7), (32, 2, 8), (157, 2, 10), (1024, 2, 64), (1024, 100, 512)],
)
def test_each_slot_has_some_tasks_and_a_task_as_many_texts_as_pay(
    texts: int, slots: int, wanted: int
) -> None:
    assert tasks(texts, slots) == wanted


@given(st.integers(1, 10_000), st.integers(1, 1000))
def test_no_slot_is_left_without_a_task_where_there_are_texts(texts: int, slots: int) -> None:
    found = tasks(texts, slots)

    assert min(texts, slots) <= found <= texts
    assert found * TOGETHER >= texts
