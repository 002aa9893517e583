"""A classifier over a whole split, or over any inputs, on Ray Data: each once, on all cores or GPUs.

Arrays are read, or decoded, where the model sees them: what Ray carries are plans and answers.
"""

import json
import logging
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.mistake import UserError
from pipelines.models.answer_table import as_table
from pipelines.models.inputs import Inputs, Shown
from pipelines.progress import Advance
from pipelines.settings import RunSettings
from preprocessing.cache import Cache
from preprocessing.shards import Shards

if TYPE_CHECKING:
    from pipelines.models.classifier import Classifier
    from preprocessing.reading import Reader


def probabilities(
    settings: RunSettings, shards: Shards, split: str, description: Path, weights: Path, advance: Advance
) -> NDArray[np.float32]:
    """[samples of the split, K], K as many as the description has. Ray must be initialised."""
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
        **({"num_gpus": 1, "concurrency": settings.cluster.most} if device == "cuda" else {"num_cpus": 1}),
    )
    classes = len(json.loads(description.read_bytes())["classes"])
    found = np.full((samples, classes), np.nan, np.float32)
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

    from pipelines.models.classifier import Classifier
    from preprocessing.reading import Reader

    torch.set_num_threads(1)  # one task a core; threads on top would stand in each other's way
    shards = Shards.open(asked.place, asked.version)
    classifier = Classifier.load(asked.description, asked.weights, asked.device)
    return Reader(shards, asked.split, asked.cache), classifier


WINDOW = 1024
"""Texts that Ray Data is given at a time: what it keeps of each would fill memory with all of them."""
PER_SLOT = 128
"""Or so many for each slot of the cluster, where that is more: between two windows all slots run empty."""
TOGETHER = 16
"""Texts of one task at most: between two tasks a slot stands still for as long as some small texts take."""
TURNS = 4
"""Tasks of each slot, where there are texts enough: all slots end at about the same time."""
MISTAKE = "mistake"
"""The only column of what a task gives back that met one of the user's."""


class Made(NamedTuple):
    """A model, wherever it is used."""

    description: bytes
    weights: Any
    """Ray's reference to the safetensors file."""
    device: str


class Share(NamedTuple):
    """What one task of many takes."""

    gpus: int
    """GPUs that answer at once; 0: every core does."""
    cpus: int
    """Cores beside each GPU."""

    @property
    def of_ray(self) -> dict[str, Any]:
        """The same in Ray Data's words."""
        if not self.gpus:
            return {"num_cpus": 1}
        return {"num_gpus": 1, "num_cpus": self.cpus, "concurrency": self.gpus}


def answers(
    inputs: Inputs, texts: Iterable[str], model: tuple[Path, Path], share: Share, *, every: bool
) -> Iterator[pa.Table]:
    """The answers to a plan's texts, in order, as tables; `model` are description and weights.

    Ray must be initialised.

    Raises:
        UserError: an input's place does not answer.
    """
    import ray

    description, weights = model
    device = "cuda" if share.gpus else "cpu"
    made = Made(description.read_bytes(), ray.put(weights.read_bytes()), device)
    slots = share.gpus or max(1, int(ray.cluster_resources().get("CPU", 1)))
    left = iter(texts)
    with _in_order():
        while window := list(islice(left, max(WINDOW, PER_SLOT * slots))):
            rows: Any = ray.data.from_items(
                [{"text": text} for text in window], override_num_blocks=tasks(len(window), slots)
            )
            logging.getLogger("ray.data").setLevel(logging.ERROR)
            found = rows.map_batches(
                answer_texts, batch_size=None, fn_args=(inputs, made, every), **share.of_ray
            )
            for table in found.iter_batches(batch_size=None, batch_format="pyarrow"):
                if MISTAKE in table.column_names:
                    raise UserError(table[MISTAKE][0].as_py())
                yield table


def tasks(texts: int, slots: int) -> int:
    """How many tasks share so many texts among so many slots."""
    together = min(TOGETHER, max(1, texts // (TURNS * slots)))
    return -(-texts // together)


@contextmanager
def _in_order() -> Generator[None]:
    """Blocks come back as they were handed in."""
    import ray

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    before, context.execution_options.preserve_order = context.execution_options.preserve_order, True
    try:
        yield
    finally:
        context.execution_options.preserve_order = before


def answer_texts(batch: Mapping[str, NDArray[Any]], inputs: Inputs, made: Made, every: bool) -> pa.Table:
    """What some texts stand for -> the answers, in order; a Ray Data task."""
    classifier = _classifier(made)
    try:
        return pa.concat_tables(_answers(classifier, inputs.read(str(text)), every) for text in batch["text"])
    except UserError as mistake:  # Ray keeps no exception's type.
        return pa.table({MISTAKE: [str(mistake)]})


def _answers(classifier: "Classifier", shown: list[Shown], every: bool) -> pa.Table:
    from pipelines.models.answering import answered

    found = answered(classifier, [one.seen for one in shown])
    return as_table(shown, found, classifier.classes, every=every)


@lru_cache(maxsize=1)
def _classifier(made: Made) -> "Classifier":
    """What a worker process needs for all of its tasks."""
    import ray
    import torch
    from safetensors.torch import load

    from pipelines.models.classifier import Classifier

    torch.set_num_threads(1)  # as above
    return Classifier.of(made.description, load(ray.get(made.weights)), made.device)
