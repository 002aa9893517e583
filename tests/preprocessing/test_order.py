"""The order of samples is a pure function of the step, mixes all samples, and reads few shards at a time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray

from benchmarks.order import locality
from preprocessing.order import POOL, WHOLE, Order

Rows = NDArray[np.int64]


@some.composite
def orders(draw: some.DrawFn) -> Order:
    """Any shards, some of them empty or of one sample, cut in any way."""
    sizes = draw(some.lists(some.integers(0, 9), min_size=1, max_size=12).filter(any))
    places = draw(some.integers(1, 40))
    fewer, times = some.integers(1, places), some.integers(1, 5).map(lambda turns: turns * places)
    return Order(
        np.array(sizes),
        places,
        seed=draw(some.integers(0, 2**63)),
        strands=draw(fewer | times),
        window=draw(some.integers(1, 20)),
    )


def again(order: Order) -> Order:
    """The same order, of which nothing was asked before."""
    return Order(order.sizes, order.places, order.seed, order.strands, order.window)


def stream(order: Order, epochs: int) -> tuple[Rows, Rows]:
    """Rows and epochs of the first batches, which hold so many epochs."""
    batches = [order.batch(step) for step in range(-(-order.samples * epochs // order.places))]
    return np.concatenate([rows for rows, _ in batches]), np.concatenate([epochs for _, epochs in batches])


def epoch(order: Order, number: int) -> Iterator[Rows]:
    """The rows of each batch that belong to one epoch."""
    n, places = order.samples, order.places
    for step in range(number * n // places, -(-(number + 1) * n // places)):
        rows, epochs = order.batch(step)
        yield rows[epochs == number]


@given(orders(), some.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_each_epoch_holds_each_sample_once_whatever_the_shards_and_the_batch(
    order: Order, epochs: int
) -> None:
    rows, numbers = stream(order, epochs)

    assert (np.diff(numbers) >= 0).all()
    for number in range(epochs):
        assert sorted(rows[numbers == number]) == [*range(order.samples)]


@given(some.lists(some.integers(0, 3000), min_size=1, max_size=40).filter(any), some.integers(50, 3000))
@settings(max_examples=30, deadline=None)
def test_so_it_does_with_the_strands_that_the_batch_asks_for(sizes: list[int], batch: int) -> None:
    order = Order.of(sizes, batch, seed=1)

    rows, numbers = stream(order, 2)

    for number in (0, 1):
        assert sorted(rows[numbers == number]) == [*range(sum(sizes))]


@given(orders(), some.lists(some.integers(0, 50), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_a_batch_is_the_same_whatever_was_asked_before(order: Order, steps: list[int]) -> None:
    for step in steps:
        found, wanted = order.batch(step), again(order).batch(step)

        assert found[0].tolist() == wanted[0].tolist()
        assert found[1].tolist() == wanted[1].tolist()


def test_threads_may_share_an_order() -> None:
    order = Order.of([100] * 300, 64, seed=4)
    steps = np.random.default_rng(0).integers(0, 2000, 200).tolist()

    with ThreadPoolExecutor(8) as pool:
        found = [rows.tolist() for rows, _ in pool.map(order.batch, steps)]

    alone = Order.of([100] * 300, 64, seed=4)
    assert found == [alone.batch(step)[0].tolist() for step in steps]


def test_a_batch_may_straddle_epochs() -> None:
    _, two = Order.of([2, 4], 4, seed=0).batch(1)
    _, many = Order.of([1, 1], 5, seed=0).batch(0)

    assert two.tolist() == [0, 0, 1, 1]
    assert many.tolist() == [0, 0, 1, 1, 2]


@pytest.mark.parametrize("shard", [20, 100])
def test_epochs_and_seeds_have_orders_of_their_own(shard: int) -> None:
    first, _ = stream(Order.of([shard] * 500, 64, seed=1), 2)
    other, _ = stream(Order.of([shard] * 500, 64, seed=2), 1)
    n = 500 * shard

    for one, two in ((first[:n], first[n : 2 * n]), (first[:n], other[:n])):
        assert (one == two).sum() < 10


def test_the_order_is_the_same_for_all_time() -> None:
    small = Order.of([3, 0, 1, 6], 10, seed=0)
    strands = Order(np.array([3, 0, 1, 7, 5]), 4, seed=0, strands=8, window=2)
    large = Order.of([1000] * 100, 256, seed=7)

    assert small.batch(0)[0].tolist() == [1, 3, 0, 4, 2, 8, 5, 6, 7, 9]
    assert stream(strands, 2)[0].tolist() == [
        *[0, 5, 10, 14, 2, 7, 12, 3, 1, 6, 9, 13, 4, 8, 11, 15],
        *[8, 1, 12, 4, 9, 2, 13, 6, 7, 0, 11, 15, 10, 3, 14, 5],
    ]
    assert large.batch(1000)[0][:8].tolist() == [12413, 12850, 74251, 74630, 74997, 55376, 55753, 54158]


@pytest.mark.parametrize("strands", [1, 4, 8])
def test_where_a_sample_comes_in_an_epoch_is_uniform(strands: int) -> None:
    sizes, seeds = np.array([7, 0, 1, 12]), 1000
    found = np.zeros((20, 20), int)

    for seed in range(seeds):
        order = Order(sizes, 4, seed, strands, window=3 if strands > 1 else 20)
        found[np.concatenate([*epoch(order, 1)]), np.arange(20)] += 1

    # 50 are expected in each of the 400 cells; 5 standard deviations
    assert abs(found - seeds / 20).max() < 5 * np.sqrt(seeds / 20)


@pytest.mark.parametrize("classes", [1, 10])
@pytest.mark.parametrize("batch", [32, 256, 1024])
def test_batches_from_storage_sorted_by_class_hold_as_many_classes_as_random_ones(
    classes: int, batch: int
) -> None:
    shards = 1000 // classes
    labels = np.arange(shards * 1000) // (1000 // classes)
    order = Order.of([1000] * shards, batch, seed=0)
    steps = np.random.default_rng(1).integers(0, 3 * len(labels) // batch, 100).tolist()

    distinct = np.mean([len(np.unique(labels[order.batch(step)[0]])) for step in steps])

    assert distinct >= 0.95 * 1000 * (1 - (1 - 1 / 1000) ** batch)


def test_samples_that_shared_a_batch_share_the_next_epochs_by_chance_only() -> None:
    order = Order.of([100] * 400, 256, seed=0)
    where = np.empty((2, order.samples), int)
    for number in (0, 1):
        for at, rows in enumerate(epoch(order, number)):
            where[number, rows] = at

    _, together = np.unique(where, axis=1, return_counts=True)

    batches = order.samples / order.places
    by_chance = batches * (order.places * (order.places - 1) / 2) / batches
    assert order.strands > 1
    assert 0.9 < (together * (together - 1) / 2).sum() / by_chance < 1.1


@given(orders(), some.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_nodes_read_each_shard_once_and_one_more_for_each_node(order: Order, nodes: int) -> None:
    order = Order(order.sizes, order.places, order.seed, order.places * 3, order.window)
    shard = np.repeat(np.arange(len(order.sizes)), order.sizes)
    place = np.arange(order.places) * nodes // order.places
    seen: set[tuple[int, int]] = set()

    for step in range(order.samples // order.places + 1):
        rows, epochs = order.batch(step)
        seen |= {*zip(place[epochs == 0].tolist(), shard[rows[epochs == 0]].tolist(), strict=True)}

    assert len(seen) <= np.count_nonzero(order.sizes) + nodes


@pytest.mark.parametrize("batch", [96, 256, 1024])
def test_a_node_of_eight_reads_an_eighth_and_has_three_shards_a_strand_open(batch: int) -> None:
    order, nodes = Order.of([50] * 1000, batch, seed=5), 8

    read = locality(order.batch, np.repeat(np.arange(1000), 50), batch, nodes)

    strands = order.strands // nodes
    arc = strands * -(-order.samples // order.strands)
    assert max(read.shards) <= -(-(arc - 1) // 50) + 1
    assert sum(read.shards) <= 1000 + nodes
    assert read.open <= min(3 * strands, max(read.shards))


def test_of_many_shards_a_node_has_few_open() -> None:
    order = Order.of([50] * 10_000, 1024, seed=5)

    read = locality(order.batch, np.repeat(np.arange(10_000), 50), 1024, 8)

    assert (order.strands, min(read.shards) > 1200) == (1024, True)
    assert read.open <= 3 * 1024 // 8


@pytest.mark.parametrize("batch", [1, 1000, 5000, 100_000])
def test_what_is_sorted_at_once_is_bounded(batch: int) -> None:
    order = Order.of([10_000] * 1000, batch, seed=0)

    assert POOL // 4 < order.strands * order.window <= POOL


def test_small_sets_are_one_window() -> None:
    assert Order.of([WHOLE // 2] * 2, 64, seed=0).strands == 1
    assert Order.of([WHOLE // 2] * 2 + [1], 64, seed=0).strands == 1024


@pytest.mark.parametrize(
    ("sizes", "batch"), [([], 4), ([0, 0], 4), ([3, -1], 4), ([4], 0), ([20_000], 0), ([20_000], -1)]
)
def test_shards_without_samples_and_batches_without_places_are_refused(sizes: list[int], batch: int) -> None:
    with pytest.raises(ValueError, match=f"batch {batch} give no batch"):
        Order.of(sizes, batch, seed=0)


def test_a_step_before_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="step -1 has no batch"):
        Order.of([4], 4, seed=0).batch(-1)


@pytest.mark.parametrize(
    ("strands", "window", "why"),
    [(6, 5, "6 strands"), (0, 5, "0 strands"), (8, 0, "of 0"), (8, WHOLE + 1, "of 16385")],
)
def test_strands_and_windows_that_cannot_be_are_refused(strands: int, window: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Order(np.array([9, 9]), 4, 0, strands, window)
