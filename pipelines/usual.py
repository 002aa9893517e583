"""Which settings of a run are not the usual ones: the few that say what it is."""

from collections.abc import Mapping
from dataclasses import dataclass

import tyro

from pipelines.settings import usual_params


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Options of `perceiver show`, which are no settings."""

    all: tyro.conf.FlagCreatePairsOff[bool] = False
    """List all settings, also the usual ones."""


def chosen(params: Mapping[str, str]) -> dict[str, str]:
    """Those that are not as they are where nobody says anything."""
    usual = usual_params()
    return {name: value for name, value in params.items() if value != usual.get(name)}


def in_words(params: Mapping[str, str], rest: str) -> list[str]:
    """A line for each of them, and one for the others, of which `rest` says where they are listed."""
    found = chosen(params)
    lines = [f"{name} = {value}" for name, value in found.items()]
    return [*lines, f"the other {len(params) - len(found)} settings are the usual ones ({rest})"]
