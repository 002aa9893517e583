"""What `perceiver promote`, `rollback` and `lineage` are told: a model of the registry, and a few options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import tyro

from cluster.mistake import UserError
from pipelines.tracking.store_options import StoreOptions


@dataclass(frozen=True, kw_only=True)
class PromoteOptions:
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """The version: MODEL@candidate or MODEL/VERSION."""
    alias: str = "champion"
    """Alias that is to point to it, the run file's gate.champion."""
    force: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Promote it whatever the gate said; needs --reason."""
    reason: str = ""
    """Why, for those who look at the history later."""
    tracking: StoreOptions = field(default_factory=StoreOptions)

    def __post_init__(self) -> None:
        if self.force and not self.reason.strip():
            raise ValueError("--force needs --reason TEXT: the history keeps why the gate was overruled")


@dataclass(frozen=True, kw_only=True)
class RollbackOptions:
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """The registered model's name."""
    reason: str
    """Why, for those who look at the history later."""
    to: int = 0
    """An earlier champion's version; 0: the champion before this one."""
    alias: str = "champion"
    """Alias that is moved, the run file's gate.champion."""
    tracking: StoreOptions = field(default_factory=StoreOptions)

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise ValueError("--reason is empty: the history keeps why the champion was taken back")


@dataclass(frozen=True, kw_only=True)
class LineageOptions:
    model: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = ""
    """Whence this version came: MODEL@champion or MODEL/VERSION."""
    files: str = ""
    """With MODEL: a Parquet file to write, with every raw file, its sha256, split and label."""
    shards: str = ""
    """Which versions learnt from these shards: a folder, `s3://bucket/prefix` or a run file."""
    source: str = ""
    """Which versions learnt from this raw file: its path, or its name below the raw folder."""
    tracking: StoreOptions = field(default_factory=StoreOptions)

    def __post_init__(self) -> None:
        if sum(map(bool, (self.model, self.shards, self.source))) != 1:
            raise ValueError("give one of MODEL, --shards PLACE and --source FILE")
        if self.files and not self.model:
            raise ValueError("--files goes with MODEL")


Options = PromoteOptions | RollbackOptions | LineageOptions

_COMMANDS: Mapping[str, tuple[type[Any], str, str]] = {
    "promote": (
        PromoteOptions,
        "MODEL@candidate",
        "Let the champion's alias point to a version that passed the gate, or, with --force, to any.",
    ),
    "rollback": (
        RollbackOptions,
        "MODEL --reason TEXT",
        "Let the champion's alias point to an earlier champion again.",
    ),
    "lineage": (
        LineageOptions,
        "MODEL@champion",
        "Say where a model version came from, or which versions came from shards or a raw file.",
    ),
}


def parse(command: str, words: Sequence[str]) -> Options:
    """The options of one of the three.

    Raises:
        UserError: the model is not named.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    options, example, about = _COMMANDS[command]
    named = words and (not words[0].startswith("-") or command == "lineage")
    if not named and not set(words) & {"-h", "--help"}:
        raise UserError(f"`perceiver {command}` needs a model first: perceiver {command} {example}")
    return tyro.cli(options, args=list(words), prog=f"perceiver {command}", description=about)
