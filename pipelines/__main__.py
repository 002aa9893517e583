"""The command `perceiver`: one command, one run file, words on stderr, with --json one object on stdout."""

import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.mistake import UserError
from pipelines.help import kept_or_made
from pipelines.progress import say

COMMANDS = ("show", "run", "shard", "train", "evaluate", "register", "ui")

USAGE = """perceiver COMMAND RUN.toml [--key value ...] [--json]

  show       print the resolved settings and what each stage would do and why, then stop
  run        shard, train, evaluate, register; what is up to date is not done again
  shard      write the raw files as shards
  train      train the Perceiver on the shards
  evaluate   evaluate the trained weights on the test split
  register   register the evaluated model
  ui         open the MLflow UI on the run's tracking store

Every key of the run file is an option and every option a key of the run file; options win.
--json ends with exactly one JSON object on stdout. Exit status: 0 done, 2 your mistake, 1 anything else."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _do(words)
    except UserError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped; the same command goes on from here")
        return 1


def _do(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        return _help("COMMAND")
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        raise UserError(f"{command} is not a command.{_nearest(command)} `perceiver --help` lists them.")
    if set(rest) & {"-h", "--help"}:
        return _help(command)
    if not rest or rest[0].startswith("-"):
        raise UserError(f"`perceiver {command}` needs a run file first: perceiver {command} RUN.toml")
    from pipelines.settings import read

    as_json = "--json" in rest
    run_file, options = rest[0], [word for word in rest[1:] if word != "--json"]
    settings = read(run_file, options, prog=f"perceiver {command}")
    # The work is imported after the settings have been read, so that a refusal comes at once.
    from pipelines import commands

    result = getattr(commands, command)(settings)
    if as_json:
        print(json.dumps(result))  # noqa: T201  the one line on stdout
    return 0


def _help(command: str) -> int:
    def make() -> None:
        from pipelines.settings import parse

        parse(["--help"], prog=prog, description=USAGE)

    prog = f"perceiver {command} RUN.toml"
    print(kept_or_made(prog, make, Path.home() / ".cache" / "perceiver-pipeline"))  # noqa: T201  it was asked for
    return 0


def _nearest(word: str) -> str:
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f" Perhaps you meant {near[0]}." if near else ""


if __name__ == "__main__":
    sys.exit(main())
