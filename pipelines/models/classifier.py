"""Trained weights as something that answers: stored arrays in, probabilities out.

Evaluation, prediction and the registered model all go through here, so they give the same.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from perceiver.description import build, describe
from perceiver.draws import sample_seeds
from perceiver.loss import OBJECTIVES
from perceiver.model import Batch, Perceiver, Sample
from perceiver.step import computing

WEIGHTS = "model.safetensors"
DESCRIPTION = "state.json"
"""Names of these two in a checkpoint."""


@dataclass(frozen=True)
class Classifier:
    """A model in evaluation, with the names of its classes."""

    model: Perceiver
    classes: tuple[str, ...]
    precision: Any
    device: torch.device

    @classmethod
    def load(cls, description: str | Path, weights: str | Path, place: str = "cpu") -> "Classifier":
        """Build the described model and give it its weights, on the device `place`."""
        return cls.of(Path(description).read_bytes(), load_file(weights), place)

    @classmethod
    def of(cls, description: bytes, weights: Mapping[str, Tensor], place: str = "cpu") -> "Classifier":
        """The same from what the two files hold."""
        made = json.loads(description)
        device = torch.device(place)
        model = build(made["model"])
        model.load_state_dict(weights)
        return cls(model.to(device).eval(), tuple(made["classes"]), made["precision"], device)

    def probabilities(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """[B, K] for samples that hold the stored arrays of every modality: the mean over the views.

        Of one label a sample they sum to 1; of several each class has its own.
        """
        views = self.model.settings.views
        seeds = [view_seeds(view, len(samples)) for view in range(views)] if views > 1 else [None]
        return torch.stack([self._view(samples, seed) for seed in seeds]).mean(0).cpu().numpy()

    @torch.no_grad()
    def attended(self, sample: Sample) -> tuple[Batch, list[dict[str, NDArray[np.float32]]]]:
        """What the model sees of a sample in its first view, and where its latents look.

        For the first cross-attend and for the last, where there are several, the weights [N, M] of each
        modality, as `Perceiver.attended` has them.
        """
        seeds = view_seeds(0, 1) if self.model.settings.views > 1 else None
        seen = self.model.collate([sample], seeds)
        with computing(self.precision, self.device):
            found = self.model.attended(self._placed(seen), {0, self.model.settings.blocks - 1})
            return seen, [
                {modality: weights[0].float().cpu().numpy() for modality, weights in one.items()}
                for one in found
            ]

    @torch.no_grad()
    def _view(self, samples: Sequence[Sample], seeds: Tensor | None) -> Tensor:
        batch = self.model.collate(samples, seeds)
        with computing(self.precision, self.device):
            logits = self.model(self._placed(batch))
        return OBJECTIVES[self.model.labels].probabilities(logits)

    def _placed(self, batch: Batch) -> Batch:
        return {modality: raw.to(self.device) for modality, raw in batch.items()}


def view_seeds(view: int, samples: int) -> Tensor:
    """Seeds that draw the same windows for the same view, whatever else is in the batch."""
    return sample_seeds(0, torch.full((samples,), view), torch.zeros(samples, dtype=torch.int64))


def description(model: Perceiver, classes: Sequence[str], precision: str) -> Mapping[str, Any]:
    """What `Classifier.load` needs besides the weights; survives JSON."""
    return {"model": describe(model), "classes": list(classes), "precision": precision}
