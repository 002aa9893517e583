"""What `perceiver predict` is told: a model, inputs, where the answers go, and a few options."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from cluster.mistake import UserError
from pipelines.tracking.store_options import StoreOptions
from preprocessing.settings import Split

Model = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
Input = Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")]


@dataclass(frozen=True, kw_only=True)
class Machines:
    address: str = "local"
    """Ray cluster: "local" starts one on this machine, "auto" joins the one that runs here, host:port joins
    another."""
    gpus: int = 0
    """GPUs that answer at once; 0: every CPU core does."""
    cpus_per_gpu: int = 4
    """CPU cores that decode for each GPU."""

    def __post_init__(self) -> None:
        if self.gpus < 0 or self.cpus_per_gpu < 1:
            raise ValueError(
                f"cluster.gpus ({self.gpus}) is at least 0, cluster.cpus-per-gpu ({self.cpus_per_gpu}) 1"
            )


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    model: Model
    """A version of a registered model: MODEL@ALIAS or MODEL/VERSION."""
    input: Input
    """Raw files (one, or a folder or `s3://bucket/prefix` of any number), shards (a folder or a prefix), or a
    run file (RUN.toml) whose shards are meant."""
    output: str
    """The table of answers, a Parquet file in a folder or at `s3://bucket/prefix`."""
    split: Split = "test"
    """Which samples of shards are answered."""
    every: Annotated[bool, tyro.conf.arg(name="all")] = False
    """Write the probabilities of all classes."""
    force: bool = False
    """Write over an output that is there."""
    batch: int = 64
    """Inputs that the model sees at a time."""
    explain: str = ""
    """Folder for pictures of what the model looked at; empty: none are drawn."""
    explained: int = 8
    """Inputs that are explained, the first that were answered."""
    tracking: StoreOptions = field(default_factory=StoreOptions)
    cluster: Machines = field(default_factory=Machines)

    def __post_init__(self) -> None:
        for name in ("batch", "explained"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")


def parse(command: str, words: Sequence[str]) -> PredictOptions:
    """The options of `perceiver predict`.

    Raises:
        UserError: the model, the input or the output is not named.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    asks = set(words) & {"-h", "--help"}
    if not asks and (len(words) < 2 or any(word.startswith("-") for word in words[:2])):
        raise UserError(
            f"`perceiver {command}` needs the model and the input first: "
            f"perceiver {command} MODEL@ALIAS INPUT --output FILE.parquet"
        )
    if not asks and not any(word.partition("=")[0] == "--output" for word in words):
        raise UserError(f"`perceiver {command}` needs --output FILE.parquet, where the answers go.")
    return tyro.cli(
        PredictOptions, args=list(words), prog=f"perceiver {command}", config=(tyro.conf.FlagCreatePairsOff,),
        description="Ask a registered model for the class of each input: every file is answered, or refused "
        "with its reason, in one table.",
    )  # fmt: skip
