"""All settings of a run, composed from the rooms' own, and the one parser that reads them.

A run file is a saved command line: its keys become options, the user's options come behind them and win.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from cluster.mistake import UserError
from cluster.settings import ClusterSettings
from cluster.storage import absolute, local_path
from perceiver.settings import PRESETS, ModelSettings, TrainSettings
from preprocessing.settings import DataSettings


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Where runs are compared and models are registered."""

    uri: str = ""
    """MLflow tracking store, for example http://host:5000; empty: MLFLOW_TRACKING_URI, else sqlite
    in the workspace."""
    alias: str = "candidate"
    """Alias that the newly registered model version gets."""
    port: int = 5000
    """Port of `perceiver ui`."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-]+", self.alias) or re.fullmatch(r"v\d+|latest", self.alias, re.IGNORECASE):
            raise ValueError(
                f"tracking.alias is {self.alias!r}: the registry takes letters, digits, _ and -, "
                f"and neither `latest` nor v and a number"
            )


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Everything that a run is made from."""

    name: str
    """Experiment and registered model name."""
    workspace: str = "work"
    """Folder for everything that the run makes; one workspace holds one run."""
    seed: int = 0
    """Seed of the weights, of the order of samples and of augmentation."""
    data: DataSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    run_file: tyro.conf.Suppress[str] = ""
    """The file that the settings were read from."""

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/:.%\"'"):
            raise ValueError(
                f"name is {self.name!r}: the registry takes no name with / : . % or quotes in it"
            )

    @property
    def root(self) -> Path:
        """The workspace as an absolute path."""
        return local_path(self.workspace)

    @property
    def shards(self) -> str:
        """The place of the shards: `data.shards`, or a folder of the workspace."""
        return absolute(self.data.shards) if self.data.shards else str(self.root / "shards")

    def placed(self) -> "RunSettings":
        """The same settings with absolute places: workers run in other folders."""
        there = {name: absolute(place) for name in ("labels", "cache") if (place := getattr(self.data, name))}
        data = replace(self.data, raw=absolute(self.data.raw), shards=self.shards, **there)
        return replace(self, workspace=str(self.root), data=data)

    @property
    def tracking_uri(self) -> str:
        """The tracking store: `tracking.uri`, or sqlite in the workspace."""
        return self.tracking.uri or f"sqlite:///{self.root}/mlflow.db"


def read(run_file: str, options: Sequence[str], prog: str = "perceiver") -> RunSettings:
    """The settings in `run_file`, with `options` behind them.

    Raises:
        UserError: there is no such run file, or it is not TOML.
        SystemExit: with status 2 and an explanation on stderr, a key or a value is wrong.
    """
    saved = list(as_options(_toml(run_file)))
    preset = PRESETS.get(_chosen([*saved, *options], "--model.preset"), {})
    usual = ["--tracking.uri", os.environ.get("MLFLOW_TRACKING_URI", "")]
    settings = parse([*usual, *as_options(preset), *saved, *options], prog=f"{prog} {run_file}")
    return replace(settings, run_file=run_file)


def parse(arguments: Sequence[str], prog: str, description: str = "") -> RunSettings:
    """Settings from a whole command line; `--help` among the arguments prints every setting and ends."""
    return tyro.cli(
        RunSettings,
        args=list(arguments),
        prog=prog,
        description=description
        or "Settings of a run; those of the run file come first, options behind it win.",
        config=(tyro.conf.FlagConversionOff,),
    )


def as_options(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The command line that `table`, as read from TOML, has saved."""
    for key, value in table.items():
        name = f"{prefix}{key}".replace("_", "-")
        if isinstance(value, Mapping):
            yield from as_options(value, f"{name}.")
        elif isinstance(value, list):
            yield from (f"--{name}", *map(_word, value))
        else:
            yield from (f"--{name}", _word(value))


def as_params(settings: RunSettings) -> dict[str, str]:
    """Every setting under its dotted name, as text: what MLflow and `show` list."""
    return dict(_flatten(asdict(settings), ""))


def _flatten(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value)


def _word(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _chosen(words: Sequence[str], option: str) -> str:
    """The last value that `words` give to `option`, or nothing."""
    chosen = ""
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, glued, value = word.partition("=")
        if name == option:
            chosen = value if glued else following
    return chosen


def _toml(run_file: str) -> dict[str, Any]:
    path = Path(run_file)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(
            f"There is no run file {run_file}. Give the path of a TOML file; pipelines/runs/ has examples."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The run file {run_file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"The run file {run_file} is not TOML: {error}") from error
