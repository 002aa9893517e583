"""What is fed to the model is what the samples hold, however they were read."""

import numpy as np
import torch

from perceiver.draws import sample_seeds
from pipelines.feed import evaluation_feed, training_feed
from pipelines.loop import build_learner
from pipelines.ranks import Ranks
from pipelines.settings import RunSettings
from preprocessing import order
from preprocessing.reading import Reader
from preprocessing.shards import Shards

ALONE = Ranks(0, 1, torch.device("cpu"))


def test_batches_hold_the_same_bytes_as_samples_read_apart(settings: RunSettings, shards: Shards) -> None:
    model, reader = build_learner(settings, shards, ALONE).model, Reader(shards, "train")

    for fed in training_feed(model, reader, ALONE, range(9), batch=12, seed=3):
        rows, epochs = order.batch(fed.step, samples=len(reader), batch=12, seed=3)
        seeds = sample_seeds(3, torch.from_numpy(epochs), torch.from_numpy(rows))
        wanted = model.collate(reader.read(rows), seeds)["image"]

        assert torch.equal(fed.seeds, seeds)
        assert torch.equal(fed.batch["image"].values, wanted.values)
        assert torch.equal(fed.labels, torch.from_numpy(reader.labels[rows]))


def test_evaluation_sees_every_sample_once_in_its_order(settings: RunSettings, shards: Shards) -> None:
    model, reader = build_learner(settings, shards, ALONE).model, Reader(shards, "val")

    fed = [(batch["image"].values, labels) for batch, labels in evaluation_feed(model, reader, ALONE, 5)]

    wanted = np.stack([sample["image"] for sample in reader.read(range(len(reader)))])
    assert torch.equal(torch.cat([values for values, _ in fed]), torch.from_numpy(wanted))
    assert torch.equal(torch.cat([labels for _, labels in fed]), torch.from_numpy(reader.labels))
