"""The classifier over a whole split, on Ray Data: every sample once, over as many workers as train."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import Advance
from pipelines.settings import RunSettings
from preprocessing.shards import Shards

if TYPE_CHECKING:
    from pipelines.classifier import Classifier
    from preprocessing.reading import Reader


def probabilities(
    settings: RunSettings, shards: Shards, split: str, description: Path, weights: Path, advance: Advance
) -> NDArray[np.float32]:
    """[samples of the split, K], in the order of the index. Ray must be initialised."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # not before the import, which sets it too
    ray.data.DataContext.get_current().enable_progress_bars = False
    samples, batch = shards.counts[split], settings.train.batch
    rows: Any = ray.data.range(samples, override_num_blocks=-(-samples // batch))
    answers = rows.map_batches(
        answer,
        fn_args=(str(Path(shards.place).absolute()), split, str(description), str(weights)),
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


def answer(
    batch: Mapping[str, NDArray[Any]], place: str, split: str, description: str, weights: str
) -> dict[str, NDArray[Any]]:
    """Rows of the split -> their probabilities [B, K]; a Ray Data task."""
    reader, classifier = _loaded(place, split, description, weights)
    rows = batch["id"]
    return {"row": rows, "probabilities": classifier.probabilities(reader.read(rows))}


@lru_cache(maxsize=1)
def _loaded(place: str, split: str, description: str, weights: str) -> "tuple[Reader, Classifier]":
    """What a worker process needs for all of its tasks."""
    import torch

    from pipelines.classifier import Classifier
    from preprocessing.reading import Reader

    torch.set_num_threads(
        1
    )  # there are as many tasks as cores; threads on top would stand in each other's way
    return Reader(Shards.open(place), split), Classifier.load(description, weights)
