"""What earlier versions of the shards hold, and what is new, changed or gone since.

For every sample the ledger of its generation notes a signature (all that is known without reading its files),
a stamp (their times, or ETags) and its key (which follows from their content). The ledger is outside of the
digest, as times differ between machines. The rules:
* same signature, same stamp: unchanged, and neither read nor rewritten;
* same signature, another stamp: its files are read once; unchanged where the key is the same, and tried again
  where they were refused;
* anything else: a new sample, which goes into a new shard; one that is no longer there, or changed, leaves
  the index, and its bytes stay in the old shard.
A sample that stays keeps its split, whatever the folders and shares say by now.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cluster.storage import Store
from preprocessing.columns import compute
from preprocessing.samples import SIGNATURE, Samples
from preprocessing.settings import SPLITS
from preprocessing.shards import Shards, rows

LEDGER = ".ledger"
NOTES = pa.schema(
    [
        ("signature", pa.binary(SIGNATURE)),
        ("stamp", pa.int64()),
        ("key", pa.string()),
        ("shard", pa.string()),
        ("accepted", pa.bool_()),
    ]
)

Keys = Callable[[NDArray[np.int64]], list[str]]
"""Reads the files of these samples and gives their keys; empty where they cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """What the newest version holds; r rows of the ledger."""

    shards: Shards | None
    """None before the first version."""
    notes: pa.Table
    """The ledger without the column `shard`."""
    shard: NDArray[np.int32]
    """[r]: place of its shard in `names`."""
    names: tuple[str, ...]
    """Shards, without an ending."""

    @classmethod
    def of(cls, shards: Shards | None, home: Store) -> "Past":
        """Read the ledger; where it is lost, the index has to serve."""
        try:
            notes = rows(home, ledger_name(shards.number), None) if shards else NOTES.empty_table()
        except (OSError, pa.ArrowInvalid):
            notes = from_index(shards) if shards else NOTES.empty_table()
        coded = notes["shard"].combine_chunks().dictionary_encode()
        return cls(
            shards=shards,
            notes=notes.drop_columns("shard"),
            shard=coded.indices.to_numpy().astype(np.int32),
            names=tuple(coded.dictionary.to_pylist()),
        )

    @property
    def signed(self) -> bool:
        """Whether there is a ledger."""
        return not self.notes["signature"].null_count

    def split(self) -> NDArray[np.int8]:
        """[r]: place of each row's split in SPLITS."""
        of_name = [SPLITS.index(name.partition("-")[0]) for name in self.names]  # pyright: ignore[reportArgumentType]
        return np.array(of_name, np.int8)[self.shard] if of_name else np.empty(0, np.int8)

    def accepted(self) -> NDArray[np.bool_]:
        """[r]: whether it is in the index."""
        return self.notes["accepted"].to_numpy()

    def gone(self, matched: "Match") -> list[str]:
        """The sources of the samples of the index that are no longer there."""
        if self.shards is None:
            return []
        left = (matched.sample(len(self.shard)) < 0) & self.accepted()
        index = self.shards.index(["key", "source"])
        keys = pa.array(self.keys()[left].tolist(), pa.string())
        return index.filter(compute.is_in(index["key"], value_set=keys))["source"].to_pylist()

    def keys(self) -> NDArray[np.object_]:
        """[r]: the samples' keys."""
        return self.notes["key"].to_numpy()


def from_index(shards: Shards) -> pa.Table:
    """As much of a ledger as the index knows."""
    index = shards.index(["key", "shard"])
    count = index.num_rows
    columns = [
        pa.nulls(count, pa.binary(SIGNATURE)),
        pa.array(np.zeros(count, np.int64)),
        index["key"],
        compute.replace_substring(index["shard"], ".tar", ""),
        pa.array(np.ones(count, bool)),
    ]
    return pa.Table.from_arrays(columns, schema=NOTES)


def ledger_name(number: int) -> str:
    """Where a version's ledger lies."""
    return f"{LEDGER}/{number:04d}.parquet"


@dataclass(frozen=True, kw_only=True)
class Match:
    """Which samples are known; n samples, r rows of the ledger."""

    row: NDArray[np.int64]
    """[n]: the sample's row of the ledger, -1 where it is new."""
    suspects: NDArray[np.int64]
    """Samples that have to be read before it is known whether they changed."""

    @property
    def unknown(self) -> NDArray[np.int64]:
        """The samples that are no row of the ledger."""
        return np.flatnonzero(self.row < 0)

    def changes(self, count: int) -> tuple[int, int]:
        """How many samples are no row of the ledger, and how many of its `count` rows are no sample."""
        known = int((self.row >= 0).sum())
        return len(self.row) - known, count - known

    def sample(self, count: int) -> NDArray[np.int64]:
        """[r]: the sample of each row of the ledger, -1 where it is gone."""
        sample = np.full(count, -1, np.int64)
        here = np.flatnonzero(self.row >= 0)
        sample[self.row[here]] = here
        return sample


def match(samples: Samples, past: Past, verify_content: bool) -> Match:
    """Compare without reading a file."""
    noted = past.notes["signature"].combine_chunks()
    if not past.signed:  # The ledger was lost: only the content can tell, and nothing what a table said.
        suspects = 0 if samples.labels else len(samples)
        return Match(row=np.full(len(samples), -1), suspects=np.arange(suspects))
    here = signatures(samples, np.arange(len(samples)))
    found = compute.fill_null(compute.index_in(here, value_set=noted), -1)
    row = found.to_numpy(zero_copy_only=False).astype(np.int64)
    known = np.flatnonzero(row >= 0)
    touched = past.notes["stamp"].to_numpy()[row[known]] != samples.stamp[known]
    return Match(row=row, suspects=known if verify_content else known[touched])


def settle(matched: Match, past: Past, keys: Keys) -> Match:
    """Read the suspects and tell which of them are what they were."""
    if not len(matched.suspects):
        return matched
    row, noted, accepted = matched.row.copy(), past.keys(), past.accepted()
    by_key = {} if past.signed else {key: at for at, key in enumerate(noted.tolist())}
    for sample, key in zip(matched.suspects.tolist(), keys(matched.suspects), strict=True):
        at = int(row[sample])
        if at < 0:
            row[sample] = by_key.get(key, -1) if key else -1
        elif not key or noted[at] != key or not accepted[at]:
            row[sample] = -1
    return Match(row=row, suspects=matched.suspects)


def given_up(matched: Match, past: Past, shards: frozenset[str]) -> Match:
    """The match without the samples of these shards: they have to become new ones."""
    lost = np.array([name in shards for name in past.names], bool)
    row = matched.row.copy()
    known = np.flatnonzero(row >= 0)
    row[known[lost[past.shard[row[known]]]]] = -1
    return Match(row=row, suspects=matched.suspects)


def refreshed(past: Past, samples: Samples, matched: Match) -> pa.Table:
    """The ledger with the samples as they are now, without what is gone."""
    sample = matched.sample(len(past.shard))
    kept = np.flatnonzero(sample >= 0)
    shards = pa.DictionaryArray.from_arrays(past.shard[kept], pa.array(past.names, pa.string()))
    columns = [
        signatures(samples, sample[kept]),
        pa.array(samples.stamp[sample[kept]]),
        past.notes["key"].take(kept),
        shards.cast(pa.string()),
        past.notes["accepted"].take(kept),
    ]
    return pa.Table.from_arrays(columns, schema=NOTES)


def signatures(samples: Samples, members: NDArray[np.int64]) -> pa.Array:
    """Signatures as Arrow has them."""
    data = pa.py_buffer(samples.signature[members].tobytes())
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(SIGNATURE), len(members), [None, data])
