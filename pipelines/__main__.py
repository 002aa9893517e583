"""The command `perceiver`: one command, one run file; answers on stdout, or with --json one object there."""

import difflib
import json
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

from cluster.mistake import AwayError, UserError
from pipelines.attempts import OvertakenError
from pipelines.help import kept_or_made
from pipelines.progress import UnheardError, answering, heard, tell, warn
from pipelines.stopping import LostError, StoppedError
from pipelines.usage import ABOUT, SETTINGS, USAGE

FAMILIES = {
    "verify": "shards", "inspect": "shards",
    "submit": "jobs", "jobs": "jobs", "schedule": "schedule",
    "compare": "compare", "promote": "registry", "rollback": "registry", "lineage": "registry",
    "predict": "predict",
    "manifests": "manifests", "lint": "manifests",
}  # fmt: skip
"""Commands with options of their own: `<family>/options.py` reads them, `<family>/commands.py` obeys."""
COMMANDS = (*ABOUT, *FAMILIES)
QUESTIONS = (
    "show", "compare", "lineage", "inspect", "jobs list", "jobs status", "jobs logs", "schedule list",
)  # fmt: skip
"""What is asked for its words: they go to stdout, so that `less` or `grep` can read on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _do(words)
    except (AwayError, LostError, OvertakenError) as error:
        warn(f"error: {error}")
        return 1
    except UserError as error:
        warn(f"error: {error}")
        return 2
    except StoppedError as stopped:
        warn(f"{stopped}; the same command goes on from there")
        return 1
    except UnheardError:
        return 0
    except KeyboardInterrupt:
        warn("stopped; the same command goes on from here")
        return 1


def _do(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        tell(USAGE)
        return 0
    command, rest = words[0], words[1:]
    if command not in COMMANDS:
        raise UserError(f"{command} is not a command.{_nearest(command)} `perceiver --help` lists them.")
    if command in FAMILIES:
        return _of_family(command, rest)
    if set(rest) & {"-h", "--help"}:
        return _help(command)
    if not rest or rest[0].startswith("-"):
        raise UserError(f"`perceiver {command}` needs a run file first: perceiver {command} RUN.toml")
    from pipelines.settings import read, read_with

    as_json = "--json" in rest
    run_file, options = rest[0], [word for word in rest[1:] if word != "--json"]
    prog = f"perceiver {command}"
    if own := _own(command):
        asked = read_with(own, run_file, options, prog=prog)
    else:
        asked = (read(run_file, options, prog=prog),)
    # The work is imported after the settings have been read, so that a refusal comes at once.
    from pipelines import commands

    with _listening(command, rest):
        result = getattr(commands, command)(*asked)
    if as_json:
        _print(result)
    return 0


def _of_family(command: str, words: list[str]) -> int:
    family, plain = FAMILIES[command], [word for word in words if word != "--json"]
    with heard():  # where it is help that is asked for
        options = import_module(f"pipelines.{family}.options").parse(command, plain)
    # Imported after the options have been read, so that a refusal comes at once.
    with _listening(command, words):
        status, result = getattr(import_module(f"pipelines.{family}.commands"), command)(options)
    if plain != words:
        _print(result)
    return status


def _listening(command: str, words: list[str]) -> AbstractContextManager[None]:
    """What a question says goes to stdout, unless stdout is kept for the object."""
    verb = words[0] if words and not words[0].startswith("-") else "list"
    asks = command in QUESTIONS or f"{command} {verb}" in QUESTIONS
    return answering() if asks and "--json" not in words else nullcontext()


def _print(result: object) -> None:
    tell(json.dumps(result))


def _own(command: str) -> type[Any] | None:
    """The options of a command that are no settings."""
    from pipelines.course import Course
    from pipelines.usual import ShowOptions

    return {"run": Course, "show": ShowOptions}.get(command)


def _help(command: str) -> int:
    prog = f"perceiver {command} RUN.toml"

    def make() -> None:
        from pipelines.settings import help_of

        help_of(_own(command), prog, f"{ABOUT[command]}\n\n{SETTINGS}")

    tell(kept_or_made(prog, make, Path.home() / ".cache" / "perceiver-pipeline"))
    return 0


def _nearest(word: str) -> str:
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f" Perhaps you meant {near[0]}." if near else ""


if __name__ == "__main__":
    sys.exit(main())
