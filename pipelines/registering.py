"""The trained weights as a registered model: code, safetensors and JSON, no pickle."""

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
from pipelines.classifier import DESCRIPTION, WEIGHTS
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import Tracker
from preprocessing.reading import Reader
from preprocessing.shards import Shards

NEEDS = ("jaxtyping", "mlflow", "numpy", "pandas", "safetensors", "torch")
"""What the served code imports."""

ROOMS = (cluster, perceiver, pipelines, preprocessing)
"""Packages that travel with the model, so that it loads where they are not installed."""


def register(
    settings: RunSettings, trained: Trained, report: Report, shards: Shards, tracker: Tracker
) -> ModelVersion:
    """Log and register the weights, unless they are already; the alias points to their version."""
    layout = Layout.of(settings, shards.digest)
    version = ModelVersion.open(layout.version)
    if version is None or (version.weights, version.model) != (trained.weights, settings.name):
        number = tracker.register(
            model(layout.checkpoints / trained.checkpoint), example(shards), tags(trained, report)
        )
    else:
        number = version.version
    tracker.point_alias(number)
    return ModelVersion(
        model=settings.name,
        version=number,
        alias=settings.tracking.alias,
        weights=trained.weights,
        metrics=report.metrics,
        run_id=tracker.run_id,
        tracking_uri=settings.tracking_uri,
    ).seal(layout.version)


def model(checkpoint: Path) -> Mapping[str, Any]:
    """The arguments of `mlflow.pyfunc.log_model` for the weights of a checkpoint."""
    return {
        "python_model": str(Path(__file__).with_name("served.py")),
        "artifacts": {"weights": str(checkpoint / WEIGHTS), "description": str(checkpoint / DESCRIPTION)},
        "code_paths": [str(Path(package.__file__ or "").parent) for package in ROOMS],
        "pip_requirements": [f"{name}=={metadata.version(name).partition('+')[0]}" for name in NEEDS],
    }


def example(shards: Shards) -> dict[str, NDArray[Any]]:
    """One test sample, [1, ...] by modality."""
    (sample,) = Reader(shards, "test").read([0])
    return {name: array[None] for name, array in sample.items()}


def tags(trained: Trained, report: Report) -> Mapping[str, str]:
    """What a model version says of itself."""
    figures = {name.replace("/", "_"): f"{value:.6g}" for name, value in report.metrics.items()}
    return {
        "shards": trained.shards, "weights": trained.weights, "step": str(trained.step),
        "samples_seen": str(trained.samples_seen), "test_samples": str(report.samples), **figures,
    }  # fmt: skip
