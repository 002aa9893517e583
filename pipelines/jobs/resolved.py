"""A run file that says everything: settings as TOML, from which the same settings are read."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from perceiver.presets import PRESETS
from pipelines.settings import RunSettings


def as_toml(settings: RunSettings) -> str:
    """The text of the run file."""
    table = asdict(settings)
    del table["run_file"]
    if not settings.tracking.uri:
        del table["tracking"]["uri"]  # else it would hide MLFLOW_TRACKING_URI of where it is read
    return "\n".join(_lines(table, "", PRESETS.get(settings.model.preset, {}))) + "\n"


def _lines(table: Mapping[str, Any], prefix: str, preset: Mapping[str, Any]) -> Iterator[str]:
    if prefix:
        yield f"\n[{prefix[:-1]}]"
    for key, value in table.items():
        if not isinstance(value, Mapping) and (value is not None or _dotted(prefix, key) in preset):
            # TOML knows no nothing; an option of that name does, and has to win over the preset.
            yield f"{key} = {_value('None' if value is None else value)}"
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _lines(value, f"{prefix}{key}.", preset)


def _dotted(prefix: str, key: str) -> str:
    return f"{prefix}{key}".replace("_", "-")


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's; DEL is the one that JSON leaves as it is.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
