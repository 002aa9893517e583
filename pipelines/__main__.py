"""The command `perceiver`: one command, one run file, words on stderr, with --json one object on stdout."""

import difflib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster.mistake import UserError
from pipelines.help import kept_or_made
from pipelines.progress import say

OF_SHARDS = ("verify", "inspect")
COMMANDS = ("show", "run", "shard", "train", "evaluate", "register", "ui", *OF_SHARDS)

USAGE = """perceiver COMMAND RUN.toml [--key value ...] [--json]
perceiver verify|inspect SHARDS [--option value ...] [--json]

  show       print the resolved settings and what each stage would do and why, then stop
  run        shard, train, evaluate, register; what is up to date is not done again
  shard      write the raw files as shards
  train      train the Perceiver on the shards
  evaluate   evaluate the trained weights on the test split
  register   register the evaluated model
  ui         open the MLflow UI on the run's tracking store
  verify     read every byte of the shards and say which shard and sample is damaged
  inspect    say what the shards hold, and draw a contact sheet of some samples

Every key of the run file is an option and every option a key of the run file; options win. SHARDS is a
folder, s3://bucket/prefix or a run file; `perceiver verify --help` and `perceiver inspect --help` say more.
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
    if command in OF_SHARDS:
        return _of_shards(command, rest)
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
        _print(result)
    return 0


def _of_shards(command: str, words: list[str]) -> int:
    if not words or (words[0].startswith("-") and not set(words) & {"-h", "--help"}):
        raise UserError(f"`perceiver {command}` needs the shards first: perceiver {command} SHARDS")
    from pipelines import shard_options

    plain = [word for word in words if word != "--json"]
    options = shard_options.parse(command, plain)
    from pipelines import shard_commands

    status, result = getattr(shard_commands, command)(options)
    if plain != words:
        _print(result)
    return status


def _print(result: object) -> None:
    print(json.dumps(result))  # noqa: T201  the one line on stdout


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
