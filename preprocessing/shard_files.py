"""Bytes of shards by their offset: from a folder, from copies of a bucket's shards, or from the bucket."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from cluster.folder import Folder
from cluster.mistake import UserError
from cluster.storage import Store
from preprocessing.cache import Cache
from preprocessing.shards import Tar

# Readers of two splits together stay well below the usual limit of 1,024 open files per process.
OPEN_SHARDS = 256
THREADS = 16
"""Requests to a bucket at a time."""
GAP, SPAN = 2**17, 2**23
"""Parts of a shard in a bucket that lie this close together are one request, up to so many bytes."""

UNTOUCHED, UNKEPT, AWAY = -1, -2, -3
"""Instead of a descriptor: never used, opened for every read as too many are open, only in the bucket."""


class Part(NamedTuple):
    """What is to be read, and where to."""

    shard: int
    """Its place among the shards."""
    offset: int
    memory: memoryview


class ShardFiles:
    """Shards of one place; threads may share them, and nothing is open before it is used."""

    def __init__(self, home: Store, tars: Sequence[Tar], cache: Cache | None) -> None:
        self._home, self._tars, self._cache = home, tars, cache
        self._begin()

    def _begin(self) -> None:
        self._files, self._kept = [UNTOUCHED] * len(self._tars), 0
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None

    def fill(self, shards: Sequence[int], offsets: Sequence[int], memories: Sequence[memoryview]) -> None:
        """Read into every memory what lies at its offset of its shard.

        Raises:
            UserError: a shard is gone, or not as long as the manifest says.
        """
        self._touch({shard for shard in set(shards) if self._files[shard] == UNTOUCHED})
        others: list[Part] = []
        # 20 us go by while 150 KB are copied: what this loop does for each sample shows.
        files, preadv = self._files, os.preadv
        for shard, offset, memory in zip(shards, offsets, memories, strict=True):
            file = files[shard]
            if file < 0:
                others.append(Part(shard, offset, memory))
            elif preadv(file, (memory,), offset) != len(memory):
                self._read(file, Part(shard, offset, memory))
        away = [part for part in others if files[part.shard] != UNKEPT or not self._read_once(part)]
        if away:
            self._each(self._fetch, joined(away))

    def close(self) -> None:
        """Give the open files and threads back; reading opens them again."""
        with self._lock:
            files, self._files, self._kept = self._files, [UNTOUCHED] * len(self._tars), 0
            pool, self._pool = self._pool, None
        for file in files:
            if file >= 0:
                os.close(file)
        if pool:
            pool.shutdown(wait=False)

    def __del__(self) -> None:
        if "_files" in self.__dict__:
            self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"_home": self._home, "_tars": self._tars, "_cache": self._cache}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()

    def _touch(self, shards: set[int]) -> None:
        """Find out where each of these shards is to be read."""
        if isinstance(self._home, Folder):
            for shard in shards:
                self._open(shard)
        elif shards:
            self._each(self._come_by, shards)

    def _come_by(self, shard: int) -> None:
        """Copy a shard out of the bucket, if there is room."""
        tar, cache = self._tars[shard], self._cache
        held = cache is not None and cache.holds(tar)
        if not held:
            self._refuse_changed(tar, self._home.size(tar.name))
            held = cache is not None and cache.copy(self._home, tar)
        if held:
            self._open(shard)
        else:
            self._files[shard] = AWAY

    def _open(self, shard: int) -> None:
        """Keep its file open, unless too many are."""
        file = self._opened(shard)
        with self._lock:
            if file is None:
                self._files[shard] = AWAY
            elif self._files[shard] == UNTOUCHED and self._kept < OPEN_SHARDS:
                self._files[shard], self._kept, file = file, self._kept + 1, None
            elif self._files[shard] == UNTOUCHED:
                self._files[shard] = UNKEPT
        if file is not None:
            os.close(file)

    def _opened(self, shard: int) -> int | None:
        """A descriptor; none where somebody removed the copy of a shard in a bucket."""
        tar = self._tars[shard]
        try:
            file = os.open(self._path(tar), os.O_RDONLY)
        except FileNotFoundError:
            if isinstance(self._home, Folder):
                self._refuse_changed(tar, -1)
            return None
        try:
            self._refuse_changed(tar, os.fstat(file).st_size)
        except UserError:
            os.close(file)
            raise
        return file

    def _path(self, tar: Tar) -> Path:
        if isinstance(self._home, Folder):
            return self._home.home / tar.name
        assert self._cache, "only copies of a bucket's shards are files"
        return self._cache.path(tar)

    def _refuse_changed(self, tar: Tar, found: int) -> None:
        path = f"{self._home.place}/{tar.name}"
        if found < 0:
            raise UserError(f"{path} is gone; the index names it. Shard again; other shards are kept.")
        if found != tar.bytes:
            raise UserError(
                f"{path} holds {found} bytes, the manifest says {tar.bytes}. "
                f"Shard again; whole shards are kept."
            )

    def _read(self, file: int, part: Part) -> None:
        got = 0
        while got < len(part.memory):
            more = os.preadv(file, (part.memory[got:],), part.offset + got)
            if not more:
                raise self._ends(part, got)
            got += more

    def _read_once(self, part: Part) -> bool:
        """Whether there is a file to read it from."""
        file = self._opened(part.shard)
        if file is None:
            return False
        try:
            self._read(file, part)
        finally:
            os.close(file)
        return True

    def _fetch(self, parts: Sequence[Part]) -> None:
        """One request for parts that lie close together."""
        first, last = parts[0], parts[-1]
        tar = self._tars[first.shard]
        length = last.offset + len(last.memory) - first.offset
        try:
            data = memoryview(self._home.read_range(tar.name, first.offset, length))
        except FileNotFoundError:
            self._refuse_changed(tar, -1)
            raise
        for part in parts:
            begin = part.offset - first.offset
            here = data[begin : begin + len(part.memory)]
            if len(here) < len(part.memory):
                raise self._ends(part, len(here))
            part.memory[:] = here

    def _ends(self, part: Part, got: int) -> UserError:
        return UserError(
            f"{self._home.place}/{self._tars[part.shard].name} ends inside a sample: {len(part.memory)} "
            f"bytes were to be read at {part.offset}, {got} are there. Shard again; whole shards are kept."
        )

    def _each(self, work: Any, items: Iterable[Any]) -> None:
        """Several requests at a time."""
        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(THREADS, thread_name_prefix="bucket")
            pool = self._pool
        for _ in pool.map(work, items):
            pass


def joined(parts: Iterable[Part]) -> Iterator[list[Part]]:
    """Parts in the order they lie in, those together that one request brings."""
    group: list[Part] = []
    for part in sorted(parts, key=lambda part: (part.shard, part.offset)):
        if group and not near(group, part):
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def near(group: Sequence[Part], part: Part) -> bool:
    """Whether it lies so close behind the others that one request is cheaper than two."""
    first, last = group[0], group[-1]
    end = part.offset + len(part.memory)
    gap = part.offset - (last.offset + len(last.memory))
    return first.shard == part.shard and gap <= GAP and end - first.offset <= SPAN
