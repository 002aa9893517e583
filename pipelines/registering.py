"""The trained weights as a registered model: code, safetensors and JSON, no pickle."""

import tempfile
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

import cluster
import perceiver
import pipelines
import preprocessing
from pipelines.artifacts import ModelVersion, Report, Trained
from pipelines.layout import Layout
from pipelines.models.classifier import DESCRIPTION, WEIGHTS
from pipelines.models.code_version import code_version
from pipelines.tracking.tracker import Tracker
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.warm_start import WarmStart
from preprocessing.reading import Reader
from preprocessing.recipe import Recipe
from preprocessing.shards import Shards

NEEDS = ("jaxtyping", "mlflow", "numpy", "pandas", "pyarrow", "safetensors", "torch")
"""What the served code imports, besides the libraries that decode."""

RECIPE = "recipe.json"
"""Name of the file that says how raw files become arrays."""

ROOMS = (cluster, perceiver, pipelines, preprocessing)
"""Packages that travel with the model, so that it loads where they are not installed."""


def register(
    trained: Trained,
    report: Report,
    shards: Shards,
    tracker: Tracker,
    known: ModelVersion | None,
    *,
    anew: bool = False,
) -> ModelVersion:
    """Log and register the weights, unless a version has them; no alias points to it yet.

    `known` is the version that was sealed last; with `anew` another one is made of the same weights. One that
    a kill has left without its seal is taken up.
    """
    settings, last = tracker.settings, known.version if known and known.model == tracker.settings.name else 0
    if known and last and known.weights == trained.weights and not anew:
        number = last
    else:
        number = tracker.registered(trained.weights, last) or _anew(trained, report, shards, tracker)
    return ModelVersion(
        model=settings.name,
        version=number,
        alias=settings.tracking.alias,
        weights=trained.weights,
        metrics=report.metrics,
        run_id=tracker.run_id,
        tracking_uri=settings.tracking_uri,
    )


def _anew(trained: Trained, report: Report, shards: Shards, tracker: Tracker) -> int:
    """A new version of the registered model."""
    layout, checkpoints = tracker.layout, Checkpoints.at(tracker.layout.checkpoints)
    folder = checkpoints.fetched(checkpoints.open(trained.checkpoint), layout.fetched)
    with tempfile.TemporaryDirectory() as scratch:
        logged = model(folder, Recipe.of(tracker.settings.data, shards), Path(scratch))
        return tracker.register(logged, example(shards), tags(trained, report, layout))


def model(checkpoint: Path, recipe: Recipe, scratch: Path) -> Mapping[str, Any]:
    """The arguments of `mlflow.pyfunc.log_model` for the weights of a checkpoint; `scratch` stays so long."""
    (scratch / RECIPE).write_text(recipe.text())
    files = {
        "weights": checkpoint / WEIGHTS,
        "description": checkpoint / DESCRIPTION,
        "recipe": scratch / RECIPE,
    }
    needs = [f"{name}=={metadata.version(name).partition('+')[0]}" for name in NEEDS]
    return {
        "python_model": str(Path(__file__).parent / "models" / "served.py"),
        "artifacts": {name: str(path) for name, path in files.items()},
        "code_paths": [str(Path(package.__file__ or "").parent) for package in ROOMS],
        "pip_requirements": [*needs, *recipe.libraries],
    }


def example(shards: Shards) -> dict[str, NDArray[Any]]:
    """One test sample, [1, ...] by modality."""
    (sample,) = Reader(shards, "test").read([0])
    return {name: array[None] for name, array in sample.items()}


def tags(trained: Trained, report: Report, layout: Layout) -> Mapping[str, str]:
    """What a model version says of itself."""
    begun = WarmStart.open(layout.warm_start)
    figures = {name.replace("/", "_"): f"{value:.6g}" for name, value in report.metrics.items()}
    return {
        "shards": trained.shards, "weights": trained.weights, "step": str(trained.step),
        "labels": "several" if "test/mAP" in report.metrics else "one", **code_version(),
        "samples_seen": str(trained.samples_seen), "test_samples": str(report.samples),
        "warm_start": str(begun or "none"), **figures,
    }  # fmt: skip
