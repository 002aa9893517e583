"""A run file, a TOML file whose keys are settings: what cannot be read, or is no setting, is named."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from cluster.mistake import UserError


def table(run_file: str, known: Collection[str]) -> dict[str, Any]:
    """What it says; `known` are all settings, each under its dotted name.

    Raises:
        UserError: there is no such file, it is not TOML, or a key of it is no setting.
    """
    found = _toml(run_file)
    said = [_unknown(key, known) for key in _keys(found) if key.replace("-", "_") not in known]
    if said:
        raise UserError("\n".join(f"{run_file}: {one}" for one in said))
    return found


def _toml(run_file: str) -> dict[str, Any]:
    text = ""
    try:
        text = Path(run_file).read_text(encoding="utf-8")
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise UserError(
            f"There is no run file {run_file}. Give the path of a TOML file; pipelines/runs/ has examples."
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The run file {run_file} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UserError(
            f"The run file {run_file} is not TOML: {error}{_line(text, str(error))}\n"
            f'Text stands in quotes (name = "birds"), a list in brackets; true and false have small letters.'
        ) from error


def _line(text: str, error: str) -> str:
    """The line that the parser complains of, and where in it."""
    place = re.search(r"line (\d+), column (\d+)", error)
    if not place:  # it complains of the end
        return ""
    line = text.split("\n")[int(place[1]) - 1].rstrip("\r")
    before = re.sub(r"[^\t]", " ", line[: int(place[2]) - 1])
    return f"\n  {line}\n  {before}^"


def _keys(found: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in found.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _unknown(key: str, known: Collection[str]) -> str:
    """What to say of a key that is no setting."""
    plain = key.replace("-", "_")
    if any(one.startswith(f"{plain}.") for one in known):
        return f"{key} is a table of settings, [{key}], and no setting itself."
    # Rather the same name in another table than another name in this one.
    elsewhere = [one for one in known if one.rpartition(".")[2] == plain.rpartition(".")[2]]
    near = difflib.get_close_matches(plain, elsewhere, n=1, cutoff=0.0) or difflib.get_close_matches(
        plain, known, n=1
    )
    if not near:
        return f"{key} is no setting. `perceiver run --help` lists them all."
    return f"{key} is no setting. Perhaps you meant {near[0].replace('_', '-') if '-' in key else near[0]}."
