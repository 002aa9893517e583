"""What is fed to the model is what the samples hold, however they were read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from perceiver.draws import sample_seeds
from pipelines.settings import RunSettings
from pipelines.training.feed import evaluation_feed, training_feed
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from preprocessing.order import Order
from preprocessing.reading import Reader
from preprocessing.shards import Shards

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_batches_hold_the_same_bytes_as_samples_read_apart(settings: RunSettings, shards: Shards) -> None:
    model, reader = State.fresh(settings, shards, ALONE.device).model, Reader(shards, "train")
    order = Order.of(reader.shard_sizes, 12, seed=3)

    for fed in training_feed(model, reader, ALONE, range(9), replace(settings, seed=3)):
        rows, epochs = order.batch(fed.step)
        seeds = sample_seeds(3, torch.from_numpy(epochs), torch.from_numpy(rows))
        wanted = model.collate(reader.read(rows), seeds)["image"]

        assert torch.equal(fed.seeds, seeds)
        assert torch.equal(fed.batch["image"].values, wanted.values)
        assert torch.equal(fed.labels, torch.from_numpy(reader.labels[rows]))


@pytest.mark.parametrize("world", [2, 5])
def test_the_parts_of_all_ranks_are_the_batch_of_one(
    settings: RunSettings, shards: Shards, world: int
) -> None:
    model, reader = State.fresh(settings, shards, ALONE.device).model, Reader(shards, "train")
    ranks = [Ranks(rank, world, ALONE.device) for rank in range(world)]
    fed_to = [training_feed(model, reader, one, range(5, 11), settings) for one in ranks]

    for whole, *parts in zip(
        training_feed(model, reader, ALONE, range(5, 11), settings), *fed_to, strict=True
    ):
        assert torch.equal(whole.seeds, torch.cat([part.seeds for part in parts]))
        assert torch.equal(whole.labels, torch.cat([part.labels for part in parts]))
        assert torch.equal(
            whole.batch["image"].values, torch.cat([part.batch["image"].values for part in parts])
        )


def test_evaluation_sees_every_sample_once_in_its_order(settings: RunSettings, shards: Shards) -> None:
    model, reader = State.fresh(settings, shards, ALONE.device).model, Reader(shards, "val")

    fed = [(batch["image"].values, labels) for batch, labels in evaluation_feed(model, reader, ALONE, 5)]

    wanted = np.stack([sample["image"] for sample in reader.read(range(len(reader)))])
    assert torch.equal(torch.cat([values for values, _ in fed]), torch.from_numpy(wanted))
    assert torch.equal(torch.cat([labels for _, labels in fed]), torch.from_numpy(reader.labels))
