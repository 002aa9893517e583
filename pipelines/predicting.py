"""The classifier over a whole split, on Ray Data: every sample once, on all cores or GPUs of the run."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.progress import Advance
from pipelines.settings import RunSettings
from preprocessing.cache import Cache
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
    device = "cuda" if settings.cluster.gpus_per_worker else "cpu"
    cache = Cache.of(settings.data)
    asked = Asked(shards.place, shards.digest, split, cache, str(description), str(weights), device)
    rows: Any = ray.data.range(samples, override_num_blocks=-(-samples // batch))
    answers = rows.map_batches(
        answer,
        fn_args=(asked,),
        batch_size=batch,
        **({"num_gpus": 1, "concurrency": settings.cluster.workers} if device == "cuda" else {"num_cpus": 1}),
    )
    found = np.full((samples, len(shards.classes)), np.nan, np.float32)
    done = 0
    advance(0, samples, "")
    for block in answers.iter_batches(batch_size=batch, batch_format="numpy"):
        found[block["row"]] = block["probabilities"]
        advance(done := done + len(block["row"]), samples, "")
    if np.isnan(found).any():
        raise RuntimeError(
            f"{int(np.isnan(found).any(1).sum())} of {samples} samples came back without an answer"
        )
    return found


class Asked(NamedTuple):
    """What a task reads, and what answers."""

    place: str
    version: str
    split: str
    cache: Cache
    description: str
    weights: str
    device: str


def answer(batch: Mapping[str, NDArray[Any]], asked: Asked) -> dict[str, NDArray[Any]]:
    """Rows of the split -> their probabilities [B, K]; a Ray Data task."""
    reader, classifier = _loaded(asked)
    rows = batch["id"]
    return {"row": rows, "probabilities": classifier.probabilities(reader.read(rows))}


@lru_cache(maxsize=1)
def _loaded(asked: Asked) -> "tuple[Reader, Classifier]":
    """What a worker process needs for all of its tasks."""
    import torch

    from pipelines.classifier import Classifier
    from preprocessing.reading import Reader

    torch.set_num_threads(1)  # one task a core; threads on top would stand in each other's way
    shards = Shards.open(asked.place, asked.version)
    classifier = Classifier.load(asked.description, asked.weights, asked.device)
    return Reader(shards, asked.split, asked.cache), classifier
