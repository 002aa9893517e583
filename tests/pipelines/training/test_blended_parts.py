"""Blended batches are the same however many ranks and pieces they are cut into."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from perceiver.train_settings import PixelAugmentation, TrainSettings
from pipelines.settings import RunSettings
from pipelines.training.feed import Fed, training_feed, with_partners
from pipelines.training.learning import changed, pieces
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from preprocessing.reading import Reader
from preprocessing.shards import Shards

CPU = torch.device("cpu")
EVERYTHING = TrainSettings(
    mixup=0.4, cutmix=1.0, image=PixelAugmentation(area=0.5, flip=0.5, operations=1, erase=0.3)
)
BATCHES, WORLDS, MOST = st.integers(1, 40), st.integers(1, 9), st.integers(1, 12)


@given(BATCHES, WORLDS)
def test_each_rank_has_its_own_samples_and_all_partners_of_theirs(batch: int, world: int) -> None:
    for rank in range(world):
        mine = Ranks(rank, world, CPU).slice(batch)
        if mine.start == mine.stop:
            continue

        fetched = range(batch)[with_partners(mine, batch)]

        own = set(range(batch)[mine])
        partners = {row ^ 1 for row in own if row ^ 1 < batch}
        assert set(fetched) == own | partners
        assert fetched[0] % 2 == 0


def parts(state: State, reader: Reader, ranks: Ranks, run: RunSettings) -> tuple[list[torch.Tensor], ...]:
    """Pixels and targets of a rank's pieces of the fourth batch, which straddles two epochs."""
    (fed,) = training_feed(state.model, reader, ranks, range(3, 4), run)
    pixels, targets = [], []
    for piece, last in pieces(fed, run.most_at_once):
        batch, shares = changed(state, piece)
        assert len(piece.seeds) <= run.most_at_once + 1
        assert last == (piece.seeds[-1] == fed.seeds[-1])
        pixels.append(batch["image"].values)
        targets.append(shares)
    return pixels, targets


@pytest.fixture
def state(settings: RunSettings, shards: Shards) -> State:
    return State.fresh(replace(settings, train=EVERYTHING), shards, CPU)


@pytest.mark.slow
def test_the_parts_of_all_ranks_and_pieces_are_the_blended_batch_of_one(
    settings: RunSettings, shards: Shards, state: State
) -> None:
    reader = Reader(shards, "train")

    @how(max_examples=20)
    @given(BATCHES, WORLDS, MOST)
    def check(batch: int, most_ranks: int, most: int) -> None:
        state.settings = replace(settings, train=replace(EVERYTHING, batch=batch))
        cut = replace(settings, train=replace(EVERYTHING, batch=batch, microbatch=most))
        (whole,), (wanted,) = parts(state, reader, Ranks(0, 1, CPU), state.settings)

        world = min(most_ranks, batch)  # more are refused before Ray starts (outlook.py)
        found = [parts(state, reader, Ranks(rank, world, CPU), cut) for rank in range(world)]

        assert torch.equal(torch.cat([one for pixels, _ in found for one in pixels]), whole)
        assert torch.equal(torch.cat([one for _, targets in found for one in targets]), wanted)

    check()


@given(BATCHES, MOST, st.data())
def test_pieces_are_the_whole_in_order_and_know_their_own(batch: int, most: int, data: st.DataObject) -> None:
    begin = data.draw(st.integers(0, 1))
    end = data.draw(st.integers(max(batch - 1, begin), batch))
    rows = torch.arange(batch)
    fed = Fed(0, {}, rows, rows, slice(begin, end), 0.0)

    cut = [piece for piece, _ in pieces(fed, most)]

    assert torch.equal(torch.cat([piece.labels for piece in cut]), rows)
    assert [row for piece in cut for row in piece.labels[piece.own].tolist()] == list(range(begin, end))
    assert all(int(piece.labels[0]) % 2 == 0 for piece in cut)
    assert [last for _, last in pieces(fed, most)] == [False] * (len(cut) - 1) + [True]
