"""What is sent to a cluster: the rooms' code, the run file with everything resolved, and who sends it."""

import hashlib
import json
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.storage import local_path
from pipelines.jobs import arrival, pins
from pipelines.jobs.resolved import as_toml
from pipelines.rooms import ROOMS, ROOT
from pipelines.settings import RunSettings

PARTS = (".py", ".toml", ".yaml", ".yml", ".json", ".html", ".md")
"""Endings of a package's own files; caches, notes and data that lie among them stay."""
PLACES = ("workspace", "checkpoints", "data.raw", "data.shards", "data.labels")


@dataclass(frozen=True, kw_only=True)
class Parcel:
    """Everything that a job is made from."""

    name: str
    """What the run file is called there; another name is the same work."""
    run_file: str
    """The settings, resolved, as TOML."""
    code: str
    """Digest of the rooms' files."""
    data: str
    """Digest of the raw files' listing, or `unseen`."""
    course: tuple[str, ...] = ()
    """Words behind the run file, as `--force train`."""

    @property
    def digest(self) -> str:
        """The same for the same work."""
        return hashlib.sha256(
            "\0".join((self.run_file, self.code, self.data, *self.course)).encode()
        ).hexdigest()

    def pack(self, folder: Path, submitter: str) -> None:
        """Write it as the job's working directory: the same bytes for the same work and submitter."""
        for name, path in files():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
        (folder / self.name).write_text(self.run_file, encoding="utf-8")
        record: dict[str, Any] = {
            "submitter": submitter, "code": self.code[:12], "data": self.data[:12],
            "python": platform.python_version(), "packages": pins.direct(),
        }  # fmt: skip
        (folder / arrival.RECORD).write_text(json.dumps(record), encoding="utf-8")


def files() -> Iterator[tuple[str, Path]]:
    """The rooms' files and their names in the parcel, in order."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*")):
            name = path.relative_to(ROOT)
            if path.suffix in PARTS and "__pycache__" not in name.parts and path.is_file():
                yield name.as_posix(), path


def code_digest() -> str:
    """One digest of all these files."""
    whole = hashlib.sha256()
    for name, path in files():
        whole.update(f"{name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return whole.hexdigest()


def resolved(settings: RunSettings) -> RunSettings:
    """The settings as they hold on the cluster: absolute places, and the cluster that it runs on."""
    placed = settings.placed()
    uri = _absolute_store(settings.tracking.uri)
    return replace(
        placed, run_file="", cluster=replace(settings.cluster, address="auto"),
        tracking=replace(settings.tracking, uri=uri),
    )  # fmt: skip


def run_file(settings: RunSettings) -> str:
    """The text of the run file that is sent."""
    return as_toml(resolved(settings))


def name_of(run_file: str) -> str:
    """The run file's own name, without what a shell or Ray would read otherwise."""
    return f"{re.sub(r'[^A-Za-z0-9._-]+', '-', Path(run_file).stem).strip('.-') or 'run'}.toml"


def places(settings: RunSettings) -> dict[str, tuple[str, str]]:
    """The places that somebody named, as they were written and as the cluster gets them."""
    now = resolved(settings)
    found = {name: (_at(settings, name), _at(now, name)) for name in PLACES}
    return {name: pair for name, pair in found.items() if pair[0]}


def _at(settings: RunSettings, dotted: str) -> str:
    value: Any = settings
    for name in dotted.split("."):
        value = getattr(value, name)
    return value or ""


def _absolute_store(uri: str) -> str:
    """A database's file by its absolute path: `sqlite:///x.db` lies in the folder of whoever opens it."""
    kind, found, path = uri.partition(":///")
    if not found or not kind.startswith("sqlite") or not path or path.startswith("/"):
        return uri
    return f"{kind}:///{local_path(path)}"
