"""What `perceiver verify` and `perceiver inspect` are told: a place, and a few options."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from cluster.mistake import UserError
from pipelines.settings import TrackingSettings
from pipelines.settings import read as read_run_file
from pipelines.tracking.store_options import StoreOptions

Place = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SHARDS")]


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    shards: Place
    """The shards: a folder, `s3://bucket/prefix`, or a run file (RUN.toml) whose shards are meant."""
    version: str = ""
    """Digest of an earlier version, its first 12 digits at least; empty: the newest."""


@dataclass(frozen=True, kw_only=True)
class InspectOptions:
    shards: Place
    """The shards: a folder, `s3://bucket/prefix`, or a run file (RUN.toml) whose shards are meant."""
    version: str = ""
    """Digest of an earlier version, its first 12 digits at least; empty: the newest."""
    sheet: str = "contact-sheet.png"
    """Where the contact sheet is written, a PNG file."""
    samples: int = 24
    """Samples on the contact sheet."""
    name: str = ""
    """MLflow experiment; empty: the run file's name, else `shards`."""
    tracking: StoreOptions = field(default_factory=StoreOptions)

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise ValueError(f"samples ({self.samples}) must be at least 1")


@dataclass(frozen=True, kw_only=True)
class Named:
    """What the place means, once a run file has been read."""

    shards: str
    experiment: str
    tracking_uri: str
    """Empty where nobody named a store."""
    port: int
    """Where `perceiver ui` shows the store."""
    root: Path
    """Folder for files of a tracking store that has no place of its own."""


def parse(command: str, words: Sequence[str]) -> VerifyOptions | InspectOptions:
    """The options of `perceiver verify` or `perceiver inspect`.

    Raises:
        UserError: the shards are not named.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    if not words or (words[0].startswith("-") and not set(words) & {"-h", "--help"}):
        raise UserError(f"`perceiver {command}` needs the shards first: perceiver {command} SHARDS")
    options, about = _COMMANDS[command]
    return tyro.cli(options, args=list(words), prog=f"perceiver {command}", description=about)


_COMMANDS: Mapping[str, tuple[type[VerifyOptions] | type[InspectOptions], str]] = {
    "verify": (
        VerifyOptions,
        "Read every byte of the shards and say what is not as the manifest says; status 1 then.",
    ),
    "inspect": (InspectOptions, "Say what the shards hold, and draw a contact sheet of some samples."),
}


def named(shards: str, tracking_uri: str = "", name: str = "") -> Named:
    """What these options mean together.

    Raises:
        UserError: the run file is missing, or no TOML.
        SystemExit: with status 2 and an explanation on stderr, a key of the run file is wrong.
    """
    if not shards.endswith(".toml"):
        uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        port = TrackingSettings().port
        return Named(shards=shards, experiment=name or "shards", tracking_uri=uri, port=port, root=Path.cwd())
    settings = read_run_file(shards, [])
    return Named(
        shards=settings.shards, experiment=name or settings.name, port=settings.tracking.port,
        tracking_uri=tracking_uri or settings.tracking_uri, root=settings.root,
    )  # fmt: skip
