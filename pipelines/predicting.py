"""The classifier over a whole split, on Ray Data: every sample once, over as many workers as train."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import Advance
from pipelines.settings import RunSettings
from preprocessing.shards import Shards


class Predictor:
    """A Ray Data worker: rows of a split in, probabilities out."""

    def __init__(self, shards: Shards, split: str, description: Path, weights: Path) -> None:
        import torch

        from pipelines.classifier import Classifier
        from preprocessing.reading import Reader

        torch.set_num_threads(1)  # as many processes as cores; threads on top would stand in each other's way
        self.reader = Reader(shards, split)
        self.classifier = Classifier.load(description, weights)

    def __call__(self, batch: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Probabilities [B, K] for the rows of the batch."""
        rows = batch["id"]
        return {"row": rows, "probabilities": self.classifier.probabilities(self.reader.read(rows))}


def probabilities(
    settings: RunSettings, shards: Shards, split: str, description: Path, weights: Path, advance: Advance
) -> NDArray[np.float32]:
    """[samples of the split, K], in the order of the index. Ray must be initialised."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # not before the import, which sets it too
    ray.data.DataContext.get_current().enable_progress_bars = False
    samples, batch = shards.counts[split], settings.train.batch
    rows = ray.data.range(samples, override_num_blocks=-(-samples // batch))
    answers = rows.map_batches(
        Predictor,
        fn_constructor_args=(shards, split, description, weights),
        batch_size=batch,
        concurrency=settings.cluster.workers,
        num_gpus=settings.cluster.gpus_per_worker,
    )
    found = np.full((samples, len(shards.classes)), np.nan, np.float32)
    done = 0
    advance(0, samples, "")
    for block in answers.iter_batches(batch_size=batch, batch_format="numpy"):
        found[block["row"]] = block["probabilities"]
        advance(done := done + len(block["row"]), samples, "")
    return found
