"""All settings of a run, composed from the rooms' own, and the one parser that reads them.

A run file is a saved command line: its keys become options, the user's options come behind them and win.
"""

import dataclasses
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro

from cluster.mistake import UserError
from cluster.settings import ClusterSettings
from cluster.storage import absolute, local_path
from perceiver.presets import PRESETS
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings
from pipelines.gate.settings import GateSettings
from pipelines.run_file import table as run_file_table
from preprocessing.settings import DataSettings

Kind = TypeVar("Kind")

ABOUT = "Settings of a run; those of the run file come first, options behind it win."
CONFIG = (tyro.conf.FlagConversionOff,)


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
    absent: Literal["refuse", "spool"] = "refuse"
    """What a run does whose tracking server never answered yet: refuse to begin, for its address may be
    misspelt, or train and tell it later. A server that answered once is never waited for."""

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
    checkpoints: str = ""
    """Folder or s3://bucket/prefix of the checkpoints; empty: in the workspace."""
    seed: int = 0
    """Seed of the weights, of the order of samples and of augmentation."""
    data: DataSettings
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    gate: GateSettings = field(default_factory=GateSettings)
    run_file: tyro.conf.Suppress[str] = ""
    """The file that the settings were read from."""

    def __post_init__(self) -> None:
        if not self.name or set(self.name) & set("/:.%\"'"):
            raise ValueError(
                f"name is {self.name!r}: the registry takes no name with / : . % or quotes in it"
            )
        if self.gate.champion == self.tracking.alias:
            raise ValueError(
                f"gate.champion and tracking.alias are both {self.tracking.alias!r}: a model would be "
                f"champion before it is compared. Choose two"
            )
        if self.model.views > 1 and self.data.modalities == ("image",):
            raise ValueError(
                f"model.views is {self.model.views}, and an image is seen whole: all views would be "
                f"the same. Set it to 1"
            )
        for way in ("mixup", "cutmix"):
            if "mesh" in self.data.modalities and (alpha := getattr(self.train, way)):
                raise ValueError(
                    f"train.{way} is {alpha}, and half of one point cloud in another is no shape: "
                    f"set it to 0, or leave mesh out of data.modalities"
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
        checkpoints = absolute(self.checkpoints) if self.checkpoints else ""
        return replace(self, workspace=str(self.root), checkpoints=checkpoints, data=data)

    @property
    def most_at_once(self) -> int:
        """Samples that a rank puts through the model at a time, at most: fewer ranks need no more memory."""
        return self.train.microbatch or -(-self.train.batch // self.cluster.most)

    @property
    def tracking_uri(self) -> str:
        """The tracking store: `tracking.uri`, or sqlite in the workspace."""
        return self.tracking.uri or f"sqlite:///{self.root}/mlflow.db"


def read(run_file: str, options: Sequence[str], prog: str = "perceiver") -> RunSettings:
    """The settings in `run_file`, with `options` behind them.

    Raises:
        UserError: there is no such run file, it is not TOML, or a key of it is no setting.
        SystemExit: with status 2 and an explanation on stderr, an option or a value is wrong.
    """
    settings = parse(command_line(run_file, options), prog=f"{prog} {run_file}")
    return replace(settings, run_file=run_file)


def read_with(
    kind: type[Kind], run_file: str, options: Sequence[str], prog: str = "perceiver"
) -> tuple[RunSettings, Kind]:
    """The same, and the options of `kind` (a dataclass), which are a command's own and no settings.

    Raises:
        UserError: as `read` does.
        SystemExit: as `read` does; a misspelt option gets the nearest of both.
    """
    found: Any = cli(_beside(kind), command_line(run_file, options), f"{prog} {run_file}", ABOUT)
    return replace(found.settings, run_file=run_file), found.own


def help_of(kind: type[Any] | None, prog: str, about: str) -> None:
    """Print every setting, behind the options of `kind` where a command has its own, and end.

    Raises:
        SystemExit: with status 0.
    """
    cli(_beside(kind) if kind else RunSettings, ["--help"], prog, about, () if kind else CONFIG)


def _beside(kind: type[Any]) -> type[Any]:
    """The options of `kind` and all settings side by side."""
    return dataclasses.make_dataclass(
        "Both",
        [
            ("own", Annotated[kind, tyro.conf.arg(name="")]),
            ("settings", Annotated[RunSettings, tyro.conf.arg(name=""), *CONFIG]),
        ],
        frozen=True,
        kw_only=True,
    )


def cli(
    kind: type[Kind], arguments: Sequence[str], prog: str, about: str, config: Sequence[Any] = ()
) -> Kind:
    """What a command line says where settings are a part of it.

    Raises:
        UserError: two settings do not go together.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    try:
        return tyro.cli(kind, args=list(arguments), prog=prog, description=about, config=config)
    except ValueError as error:  # of a part without a prefix, which tyro takes for its own mistake
        raise UserError(f"{prog}: {error}") from error


def command_line(run_file: str, options: Sequence[str]) -> list[str]:
    """The command line that is meant: what is usual, then a preset's, the run file's, and the person's.

    Raises:
        UserError: there is no such run file, it is not TOML, or a key of it is no setting.
    """
    known = [name for name in usual_params() if name != "run_file"]
    saved = list(as_options(run_file_table(run_file, known)))
    preset = PRESETS.get(_chosen([*saved, *options], "--model.preset"), {})
    usual = ["--tracking.uri", os.environ.get("MLFLOW_TRACKING_URI", "")]
    return [*usual, *as_options(preset), *saved, *options]


def parse(arguments: Sequence[str], prog: str) -> RunSettings:
    """Settings from a whole command line."""
    return tyro.cli(RunSettings, args=list(arguments), prog=prog, description=ABOUT, config=CONFIG)


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


def usual_params() -> dict[str, str]:
    """The same where nobody says anything; two have to be given, and are left empty."""
    least = RunSettings(name="any", data=DataSettings(raw="any"))
    return as_params(least) | {"name": "", "data.raw": ""}


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
