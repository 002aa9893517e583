"""The weights that a training begins with where it does not begin afresh: those of a registered version.

The version is looked up once, when the training begins, and its weights are copied into the training's
folder: one that is killed begins with the same again, whatever the alias points to by then.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from cluster.mistake import UserError
from perceiver.description import build, describe
from perceiver.model import Perceiver
from pipelines.artifacts import Artifact
from pipelines.layout import Layout
from pipelines.lease import Lease
from pipelines.models.classifier import DESCRIPTION, WEIGHTS
from pipelines.progress import say
from pipelines.settings import RunSettings
from pipelines.tracking.mlflow_registry import Registry
from pipelines.training.checkpoints import Checkpoints
from preprocessing.shards import Shards

ROWS = ("head.weight", "head.bias")
"""What has a row for each class."""
FREE = ("settings.attention", "settings.views", "settings.preset", "classes")
STATISTICS = ("mean", "std")
"""Of the data, so that they are the new data's."""

State = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class WarmStart(Artifact):
    """What a training began with."""

    asked: str
    """`train.warm_start` when it began."""
    model: str
    """Registered name."""
    version: int
    """0 where it began afresh."""
    weights: str
    """sha256 of the weights; empty where it began afresh."""

    def __str__(self) -> str:
        return f"{self.model}/{self.version}" if self.version else "none"


def settle(settings: RunSettings, shards: Shards, registry: Registry, held: Lease) -> WarmStart:
    """What the training begins with, or began with: decided once.

    Raises:
        UserError: the version's weights do not fit; names what differs.
    """
    layout, asked = Layout.of(settings, shards.digest), settings.train.warm_start
    if found := WarmStart.open(layout.warm_start):
        if asked != found.asked:
            say(
                f"train: this training began with train.warm_start = {found.asked or 'nothing'}; "
                f"{asked or 'nothing'} counts for the next one (new data, or --force train)"
            )
        return found
    if Checkpoints.at(layout.checkpoints).sealed():
        asked = ""  # it began before there were warm starts
    decided = WarmStart(asked=asked, model=settings.name, version=0, weights="")
    if asked:
        decided = _taken(settings, shards, registry, layout) or decided
    held.check()
    return decided.seal(layout.warm_start)


def begin(model: Perceiver, layout: Layout, classes: Sequence[str]) -> None:
    """Give a fresh model the weights that its training begins with, if there are any.

    Raises:
        UserError: they are gone or damaged, or do not fit.
    """
    found = WarmStart.open(layout.warm_start)
    if not found or not found.version:
        return
    folder = layout.warm_start.parent
    if not (folder / WEIGHTS).exists() or _sha256(folder / WEIGHTS) != found.weights:
        raise UserError(
            f"{folder / WEIGHTS}, the weights of {found} that this training began with, are gone or damaged. "
            f"Begin anew with --force train."
        )
    _load(model, folder, classes, str(found))


def fitted(own: State, there: State, classes_there: Sequence[str], classes: Sequence[str]) -> State:
    """The weights `there` for a model whose own, fresh ones are `own`; rows of the head go by class name."""
    row_of = {name: row for row, name in enumerate(classes_there)}
    known = [place for place, name in enumerate(classes) if name in row_of]
    rows = [row_of[classes[place]] for place in known]
    found = dict(there)
    for name in ROWS:
        found[name] = own[name].clone()
        found[name][known] = there[name][rows].to(own[name])
    return found


def _taken(settings: RunSettings, shards: Shards, registry: Registry, layout: Layout) -> WarmStart | None:
    """The version's weights, copied; None where there is no such version yet."""
    asked = settings.train.warm_start
    version = registry.find(settings.name, asked)
    if version is None:
        say(f"train: there is no {settings.name} {asked} yet; it begins afresh")
        return None
    folder = layout.warm_start.parent
    folder.mkdir(parents=True, exist_ok=True)
    for artifact, name in (("weights", WEIGHTS), ("description", DESCRIPTION)):
        shutil.copyfile(
            registry.fetched(settings.name, version, artifact, folder / "download"), folder / name
        )
    shutil.rmtree(folder / "download", ignore_errors=True)
    found = WarmStart(asked=asked, model=settings.name, version=version, weights=_sha256(folder / WEIGHTS))
    new = _refuse_misfit(settings, shards, folder, str(found))
    say(f"train: begins with the weights of {found} ({asked}){new}")
    return found


def _refuse_misfit(settings: RunSettings, shards: Shards, folder: Path, name: str) -> str:
    """Refuse weights that do not fit before any rank starts; which classes are new, in words."""
    from pipelines.training.specs import labels_of, specs

    inputs = specs(settings, shards.statistics)
    _load(
        Perceiver(settings.model, inputs, len(shards.classes), labels_of(shards)),
        folder,
        shards.classes,
        name,
    )
    known = set(json.loads((folder / DESCRIPTION).read_bytes())["classes"])
    new = [one for one in shards.classes if one not in known]
    return f"; new classes begin afresh: {', '.join(new)}" if new else ""


def _load(model: Perceiver, folder: Path, classes: Sequence[str], name: str) -> None:
    described = json.loads((folder / DESCRIPTION).read_bytes())
    with torch.device("meta"):
        there = describe(build(described["model"]))  # what it does not know has its default
    if differing := list(_differing(there, describe(model))):
        rows = "\n".join(f"  {one}" for one in differing)
        raise UserError(
            f"The weights of {name} do not fit this training:\n{rows}\n"
            f"Give these settings back, or begin afresh: leave out train.warm_start."
        )
    own = model.state_dict()
    model.load_state_dict(fitted(own, load_file(folder / WEIGHTS), described["classes"], classes))


def _differing(there: Mapping[str, Any], here: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key in sorted({*there, *here}):
        name, old, new = f"{prefix}{key}", there.get(key), here.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differing(old, new, f"{name}.")
        elif old != new and name not in FREE and key not in STATISTICS:
            yield f"{name}: {_said(old)} there, {_said(new)} now"


def _said(value: Any) -> str:
    return "none" if value is None else "there" if isinstance(value, Mapping) else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
