"""The trained weights as a registered model: code, safetensors and JSON, no pickle."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

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
    """Log and register the weights; the alias points to the new version."""
    version = tracker.register(model(trained, shards), tags(trained, report))
    return ModelVersion(
        model=settings.name,
        version=version,
        alias=settings.tracking.alias,
        weights=trained.weights,
        metrics=report.metrics,
        run_id=trained.run_id,
        tracking_uri=settings.tracking_uri,
    ).seal(Layout.of(settings, shards.digest).version)


def model(trained: Trained, shards: Shards) -> Mapping[str, Any]:
    """The arguments of `mlflow.pyfunc.log_model` for these weights."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    example = {name: array[None] for name, array in Reader(shards, "test").read([0])[0].items()}
    inputs: list[ColSpec | TensorSpec] = [
        TensorSpec(array.dtype, (-1, *_free(array)), name) for name, array in example.items()
    ]
    outputs: list[ColSpec | TensorSpec] = [ColSpec("string", "class"), ColSpec("float", "probability")]
    folder = Path(trained.checkpoint)
    return {
        "python_model": str(Path(__file__).with_name("served.py")),
        "artifacts": {"weights": str(folder / WEIGHTS), "description": str(folder / DESCRIPTION)},
        "code_paths": [str(Path(package.__file__ or "").parent) for package in ROOMS],
        "pip_requirements": [f"{name}=={metadata.version(name).partition('+')[0]}" for name in NEEDS],
        "signature": ModelSignature(inputs=Schema(inputs), outputs=Schema(outputs)),
        "input_example": example,
    }


def tags(trained: Trained, report: Report) -> Mapping[str, str]:
    """What a model version says of itself."""
    figures = {name.replace("/", "_"): f"{value:.6g}" for name, value in report.metrics.items()}
    return {
        "shards": trained.shards, "weights": trained.weights, "step": str(trained.step),
        "samples_seen": str(trained.samples_seen), "test_samples": str(report.samples), **figures,
    }  # fmt: skip


def _free(array: np.ndarray[Any, Any]) -> tuple[int, ...]:
    """The shape of one sample: pictures are fixed, what has a length may have another."""
    return array.shape[1:] if array.ndim == 4 else (-1, *array.shape[2:])
