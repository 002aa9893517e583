"""YAML with a header that says what the file is for, and the documents of files and folders."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from cluster.mistake import UserError
from cluster.storage import write_whole


class _Plain(yaml.SafeDumper):
    """Writes what is there twice twice, and text of several lines as such a block."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)


def as_yaml(header: str, document: Mapping[str, Any]) -> str:
    """The document with `header` as its comment."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in header.strip().splitlines())
    return comment + yaml.dump(document, Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True)


def write(path: Path, header: str, document: Mapping[str, Any]) -> None:
    """The same as a file, whole or not at all."""
    try:
        write_whole(path, as_yaml(header, document).encode())
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}. Name another --output.") from error


def documents(places: Sequence[str]) -> list[tuple[str, Any]]:
    """Each document of these files, and of the .yaml and .yml files in these folders, with its file's name.

    Raises:
        UserError: one is not there, or no YAML.
    """
    return [(str(path), document) for path in _files(places) for document in _read(path)]


def _files(places: Sequence[str]) -> Iterable[Path]:
    for place in map(Path, places):
        if place.is_dir():
            found = sorted(path for path in place.iterdir() if path.suffix in (".yaml", ".yml"))
            if not found:
                raise UserError(f"The folder {place} holds no .yaml or .yml file. Name the files.")
            yield from found
        else:
            yield place


def _read(path: Path) -> list[Any]:
    try:
        return [one for one in yaml.safe_load_all(path.read_text(encoding="utf-8")) if one is not None]
    except FileNotFoundError as error:
        raise UserError(f"There is no file {path}. Name YAML files or a folder of them.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise UserError(f"{path} is not YAML: {where}") from error
