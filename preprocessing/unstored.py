"""Raw files decoded as sharding decodes them, in a process of their own, and stored nowhere.

A file that hangs or crashes its decoder is refused, and costs neither the caller nor the other files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial

from preprocessing.build import Accepted, Decoding, Faulty, read_sample
from preprocessing.isolation import Limits, supervised
from preprocessing.raw import Changed, Entry
from preprocessing.refusal import Refusal, Refused
from preprocessing.samples import Part, Sample
from preprocessing.settings import DataSettings

Decoded = Accepted | Faulty
Contents = Mapping[str, bytes]
"""What the files hold, by their path, where they lie in no folder."""


@dataclass(frozen=True)
class InMemory:
    """Raw files that somebody sent."""

    contents: Contents

    def entries(self) -> Iterator[Entry]:
        for path in self.contents:
            yield from self.named(path)

    def named(self, path: str) -> Iterator[Entry]:
        yield Entry(path, len(self.contents[path]), 0)

    def read(self, entry: Entry, most: int) -> bytes:
        data = self.contents[entry.path]
        if not data:
            raise Refused("empty", "zero bytes")
        if len(data) > most:
            raise Refused("too_large", f"{len(data)} bytes; data.max_bytes is {most}")
        return data


def decoded(
    samples: Sequence[Sample], settings: DataSettings, contents: Contents | None = None, processes: int = 1
) -> list[Decoded]:
    """Each sample's arrays, or why it has none, with so many processes at once; none is named twice.

    Without `contents` the files lie in `settings.raw`.
    """
    decode = partial(_apart, settings=settings, contents=contents)
    if processes == 1 or len(samples) < 2:
        return decode(samples)
    parts = [samples[at::processes] for at in range(min(processes, len(samples)))]
    found = [*_threads(processes).map(decode, parts)]
    return [found[at % len(parts)][at // len(parts)] for at in range(len(samples))]


def culprit(faulty: Faulty) -> Refusal:
    """Of a sample's refused files the one that is to blame."""
    return next((one for one in faulty.refused if one.reason != "incomplete"), faulty.refused[0])


def decode(
    samples: Sequence[Sample], settings: DataSettings, contents: Contents | None, *,
    told: Mapping[str, Refused], watch: Callable[[str], None],
) -> list[Decoded]:  # fmt: skip
    """The same in this process: what the other one is asked to do."""
    decoding = Passing(settings, told, watch, None if contents is None else InMemory(contents))
    return [read_sample(sample, decoding) for sample in samples]


class Passing(Decoding):
    """How files become arrays that are used at once: one that changes meanwhile stops nothing."""

    def content(self, part: Part) -> bytes:
        try:
            return self.read(part)
        except Changed:
            raise Refused("unreadable", "it changed or went away while it was read") from None


def _apart(samples: Sequence[Sample], settings: DataSettings, contents: Contents | None) -> list[Decoded]:
    if contents is not None:
        contents = {part.path: contents[part.path] for sample in samples for part in sample.parts}
    limits = Limits(seconds=settings.decoder_seconds, gibibytes=settings.decoder_memory)
    return supervised("preprocessing.unstored:decode", (samples, settings, contents), limits)


@lru_cache(maxsize=1)
def _threads(count: int) -> ThreadPoolExecutor:
    """Kept, because each thread keeps the process that decodes for it."""
    return ThreadPoolExecutor(count)
