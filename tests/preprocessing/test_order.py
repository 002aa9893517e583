"""The order of samples is a pure function of the step."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from preprocessing.order import batch


@given(some.integers(1, 60), some.integers(1, 150), some.integers(0, 2**63), some.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_each_epoch_holds_each_sample_once_whatever_the_batch(
    samples: int, size: int, seed: int, epochs: int
) -> None:
    steps = -(-samples * epochs // size)

    drawn = [batch(step, samples=samples, batch=size, seed=seed) for step in range(steps)]

    rows = np.concatenate([rows for rows, _ in drawn])
    numbers = np.concatenate([epochs for _, epochs in drawn])
    for epoch in range(epochs):
        assert sorted(rows[numbers == epoch]) == [*range(samples)]


def test_a_batch_may_straddle_two_epochs() -> None:
    _, epochs = batch(1, samples=6, batch=4, seed=0)

    assert epochs.tolist() == [0, 0, 1, 1]


def test_the_stream_does_not_depend_on_the_batch() -> None:
    whole, _ = batch(0, samples=10, batch=60, seed=3)

    pieces = [batch(step, samples=10, batch=4, seed=3)[0] for step in range(15)]

    assert np.concatenate(pieces).tolist() == whole.tolist()


def test_epochs_and_seeds_have_orders_of_their_own() -> None:
    first, _ = batch(0, samples=100, batch=200, seed=1)
    other, _ = batch(0, samples=100, batch=100, seed=2)

    assert first[:100].tolist() != first[100:].tolist()
    assert first[:100].tolist() != other.tolist()


def test_the_order_is_the_same_for_all_time() -> None:
    rows, _ = batch(0, samples=10, batch=10, seed=0)

    assert rows.tolist() == [0, 9, 1, 6, 3, 5, 4, 2, 8, 7]


def test_where_a_sample_comes_is_uniform() -> None:
    places = np.array([np.argsort(batch(0, samples=20, batch=20, seed=seed)[0]) for seed in range(2000)])

    assert abs(places.mean(axis=0) - 9.5).max() < 0.6


@pytest.mark.parametrize(("step", "samples", "size"), [(0, 0, 4), (0, 4, 0), (-1, 4, 4)])
def test_an_impossible_batch_is_refused(step: int, samples: int, size: int) -> None:
    with pytest.raises(ValueError, match="no batch"):
        batch(step, samples=samples, batch=size, seed=0)
