"""What `perceiver compare` is told: runs by any of their names, and the store that knows them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from cluster.mistake import UserError

Names = Annotated[
    tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN RUN ...", help_behavior_hint="")
]


@dataclass(frozen=True, kw_only=True)
class Store:
    uri: str = ""
    """MLflow tracking store; empty: that of the run file, else MLFLOW_TRACKING_URI."""


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    runs: Names
    """Two runs or more, each named by its id or the first digits of it, its name, MODEL@ALIAS, MODEL/VERSION,
    or a run file (RUN.toml), whose newest run is meant."""
    tracking: Store = field(default_factory=Store)


def parse(command: str, words: Sequence[str]) -> CompareOptions:
    """The options of `perceiver compare`.

    Raises:
        UserError: fewer than two runs are named.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    about = "Lay runs side by side: the settings that differ, what each gave, and the link to MLflow's page."
    asked = bool(set(words) & {"-h", "--help"})
    options = (
        tyro.cli(CompareOptions, args=list(words), prog=f"perceiver {command}", description=about)
        if asked or (words and not words[0].startswith("-"))
        else None
    )
    if options is None or len(options.runs) < 2:
        raise UserError(
            f"`perceiver {command}` needs two runs or more, first: perceiver {command} RUN RUN ..., each an "
            f"id, a name, MODEL@ALIAS, MODEL/VERSION or a run file"
        )
    return options
