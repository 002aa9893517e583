"""A registered model without a training: shards made in this process, and weights that nobody trained."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from perceiver.model import Perceiver
from pipelines.models.classifier import DESCRIPTION, WEIGHTS, Classifier, description
from pipelines.registering import example, model
from pipelines.settings import RunSettings
from pipelines.tracking.mlflow_registry import Registry
from pipelines.tracking.mlflow_store import load
from pipelines.training.specs import labels_of, specs
from preprocessing.job import shard_with
from preprocessing.recipe import Recipe
from preprocessing.shards import Shards


@dataclass(frozen=True)
class Registered:
    """A model version in a registry of its own, and what it was made from."""

    settings: RunSettings
    shards: Shards
    folder: Path
    """Holds the weights and their description."""

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def classifier(self) -> Classifier:
        return Classifier.load(self.folder / DESCRIPTION, self.folder / WEIGHTS)

    @property
    def recipe(self) -> Recipe:
        """As a registered model finds it."""
        return Recipe.read(Recipe.of(self.settings.data, self.shards).text())

    def log(self, alias: str = "candidate") -> int:
        """Log and register it."""
        client = load().MlflowClient(tracking_uri=self.uri)
        experiment = client.create_experiment("any", artifact_location=(self.folder / "files").as_uri())
        run = client.create_run(experiment).info.run_id
        registry, scratch = Registry(self.uri), self.folder / "scratch"
        scratch.mkdir()
        version = registry.register(
            self.settings.name, run, model(self.folder, self.recipe, scratch), example(self.shards), {}
        )
        registry.point_alias(self.settings.name, alias, version)
        return version


def untrained(settings: RunSettings, folder: Path, seed: int = 0) -> Registered:
    """Shards and random weights, whose answers differ from sample to sample."""
    shards, _ = shard_with(map, settings.data, settings.shards, lambda done, total: None)
    torch.manual_seed(seed)
    network = Perceiver(
        settings.model, specs(settings, shards.statistics), len(shards.classes), labels_of(shards)
    )
    torch.nn.init.normal_(network.head.weight, std=0.5)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / WEIGHTS)
    made: Any = description(network, shards.classes, "float32")
    (folder / DESCRIPTION).write_text(json.dumps(made))
    return Registered(settings, shards, folder)


def apart(found: np.ndarray) -> bool:
    """Whether samples have answers of their own: two that are mixed up would be noticed."""
    return len(np.unique(found.round(5), axis=0)) == len(found)
