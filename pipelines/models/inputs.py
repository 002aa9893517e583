"""What a model is to answer, raw files or a split of shards: a plan in texts, and what each text stands for.

The order is that of the sources' names, or that of the index. Nothing is read before a text is.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from pipelines.models.answering import Arrays
from preprocessing.cache import Cache
from preprocessing.columns import compute
from preprocessing.inventory import printable
from preprocessing.plan import Work
from preprocessing.reading import Reader
from preprocessing.refusal import Refused
from preprocessing.samples import Sample, Samples
from preprocessing.settings import DataSettings
from preprocessing.shards import Shards
from preprocessing.unlabelled import unlabelled
from preprocessing.unstored import Faulty, culprit, decoded


class Shown(NamedTuple):
    """One input, ready for the model, or why it is not."""

    source: str
    """The file below the raw folder; of several the one of the first modality."""
    label: str | None
    """What it is said to be; several labels are separated by `;`."""
    seen: Arrays | Refused


class Inputs(Protocol):
    """Inputs of a model; travels to where they are read."""

    def plan(self, batch: int) -> tuple[int, Iterator[str]]:
        """How many there are, and a text for each `batch` of them.

        Raises:
            UserError: they cannot be listed.
        """
        ...

    def read(self, text: str) -> list[Shown]:
        """Those that a text stands for, in its order.

        Raises:
            UserError: the place does not answer.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class RawFiles:
    """All files below a folder or a bucket's prefix, each answered or refused once."""

    settings: DataSettings
    """Those of the model's recipe, with the place of these files."""
    one: str = ""
    """Path below the place of the only file that is meant; empty: all are."""
    processes: int = 1
    """That decode at once for one reader."""

    def plan(self, batch: int) -> tuple[int, Iterator[str]]:
        samples = unlabelled(self.settings, self.one)
        order = in_order(samples)
        return len(order), self._texts(samples, order, batch)

    def _texts(self, samples: Samples, order: np.ndarray[Any, Any], batch: int) -> Iterator[str]:
        for begin in range(0, len(order), batch):
            places = order[begin : begin + batch]
            work = Work(name="", split="", samples=tuple(samples.take(places[places >= 0])))
            refused = samples.refused.take(pa.array(-1 - places[places < 0])).to_pylist()
            kept = [[one["source"], one["reason"], one["detail"]] for one in refused]
            at = np.flatnonzero(places < 0).tolist()
            yield json.dumps({"work": work.text().decode(), "refused": kept, "at": at})

    def read(self, text: str) -> list[Shown]:
        planned = json.loads(text)
        samples = Work.of(planned["work"].encode()).samples
        found = decoded(samples, self.settings, processes=self.processes)
        shown = [self._shown(sample, one) for sample, one in zip(samples, found, strict=True)]
        for place, (source, reason, detail) in zip(planned["at"], planned["refused"], strict=True):
            shown.insert(place, Shown(source, None, Refused(reason, detail)))
        return shown

    def _shown(self, sample: Sample, found: Any) -> Shown:
        source = printable(sample.parts[0].path)
        if not isinstance(found, Faulty):
            return Shown(source, None, found.arrays)
        fault = culprit(found)
        named = f"{fault.source}: {fault.detail}" if fault.source != source else fault.detail
        return Shown(source, None, Refused(fault.reason, named))


def in_order(samples: Samples) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Places of the samples, and below zero of the refused (-1 the first), by the names of their sources."""
    files = samples.files.take(pa.array(samples.rows[:, 0]))
    paths = compute.binary_join_element_wise(
        files["stem"], files["ending"].cast(pa.large_binary()), pa.scalar(b"", pa.large_binary())
    )
    refused = samples.refused["source"].cast(pa.large_binary())
    sources = pa.chunked_array([*paths.chunks, *refused.chunks], pa.large_binary())
    places = np.concatenate([np.arange(len(samples)), -1 - np.arange(len(refused))])
    table = pa.table({"source": sources, "place": pa.array(places)})
    return table.sort_by([("source", "ascending"), ("place", "descending")])["place"].to_numpy()


@dataclass(frozen=True, kw_only=True)
class Split:
    """The samples of a split of shards."""

    place: str
    version: str
    split: str
    cache: Cache

    def plan(self, batch: int) -> tuple[int, Iterator[str]]:
        count = Shards.open(self.place, self.version).counts[self.split]
        texts = (f"{begin} {min(begin + batch, count)}" for begin in range(0, count, batch))
        return count, texts

    def read(self, text: str) -> list[Shown]:
        begin, end = map(int, text.split())
        reader = _opened(self)
        arrays = reader.read(range(begin, end))
        sources, labels = reader.sources[begin:end], reader.label_names[begin:end]
        return [Shown(*one) for one in zip(sources, labels, arrays, strict=True)]


@lru_cache(maxsize=1)
def _opened(split: Split) -> Reader:
    """What a process needs for all texts of a split."""
    return Reader(Shards.open(split.place, split.version), split.split, split.cache)
