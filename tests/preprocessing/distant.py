"""Shards that lie elsewhere: a store that is no folder and tells what it was asked for."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import Any, BinaryIO

from cluster.folder import Folder
from cluster.storage import Store
from preprocessing.shards import Shards


@dataclass
class Distant:
    """What readers need of a store."""

    behind: Folder
    asked: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def place(self) -> str:
        return f"s3://{self.behind.home.name}"

    def size(self, name: str) -> int:
        return self.behind.size(name)

    def read(self, name: str) -> bytes:
        return self.behind.read(name)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        self.asked.append(("range", name))
        return self.behind.read_range(name, offset, length)

    def reading(self, name: str) -> AbstractContextManager[BinaryIO]:
        self.asked.append(("whole", name))
        return self.behind.reading(name)


@dataclass(frozen=True, kw_only=True)
class DistantShards(Shards):
    """The same shards, as if their place were a bucket."""

    home: Distant

    def store(self) -> Store:
        return self.home  # pyright: ignore[reportReturnType]


def distant(shards: Shards) -> DistantShards:
    """These shards, far away."""
    known: dict[str, Any] = {one.name: getattr(shards, one.name) for one in fields(Shards)}
    return DistantShards(**known, home=Distant(Folder(shards.store().home)))  # type: ignore[attr-defined]
