"""What a set of weights is worth: figures over a split, per class, and what is confused with what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines import attention, pictures, points
from pipelines.artifacts import Report, Trained
from pipelines.attention_sheet import Verdict, attention_sheet
from pipelines.classifier import DESCRIPTION, WEIGHTS, Classifier
from pipelines.layout import Layout
from pipelines.predicting import probabilities
from pipelines.progress import Advance
from pipelines.settings import RunSettings
from pipelines.tracking import Tracker
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards

SPLIT = "test"


def evaluate(
    settings: RunSettings, trained: Trained, shards: Shards, tracker: Tracker, advance: Advance
) -> Report:
    """Evaluate the weights on the test split; figures and pictures go to the tracker and into the report."""
    layout = Layout.of(settings, shards.digest)
    folder = layout.checkpoints / trained.checkpoint
    found = probabilities(settings, shards, SPLIT, folder / DESCRIPTION, folder / WEIGHTS, advance)
    reader = Reader(shards, SPLIT, Cache.of(settings.data))
    labels = reader.labels
    figures, confusion = metrics(labels, found, SPLIT), Confusion.of(labels, found)
    drawn = {
        "learning curve": pictures.learning_curve(
            layout.folder / "learning-curve.png", settings.name, points.curves(layout.points)
        ),
        "confusion": pictures.confusion_matrix(
            layout.folder / "confusion-matrix.png",
            f"{settings.name}, {SPLIT}",
            confusion.counts,
            shards.classes,
        ),
        "attention": _attention_sheet(
            settings,
            Classifier.load(folder / DESCRIPTION, folder / WEIGHTS),
            reader,
            found,
            layout.folder / "attention-sheet.png",
        ),
    }
    tracker.result(figures, trained.step)
    for path in drawn.values():
        tracker.picture(path)
    return Report(
        weights=trained.weights,
        shards=shards.digest,
        samples=len(labels),
        metrics=figures,
        classes=confusion.per_class(shards.classes),
        pictures={name: str(path) for name, path in drawn.items()},
    ).seal(layout.report)


def _attention_sheet(
    settings: RunSettings,
    classifier: Classifier,
    reader: Reader,
    probabilities: NDArray[np.float32],
    path: Path,
) -> Path:
    """Draw where the latents look in a few samples of the split, on this process's CPU."""
    rows = attention.spread(reader.labels, attention.SAMPLES)
    verdicts = [
        Verdict(
            true=classifier.classes[reader.labels[row]],
            predicted=classifier.classes[probabilities[row].argmax()],
            probability=float(probabilities[row].max()),
        )
        for row in rows
    ]
    looks = attention.looks(classifier, (reader.read([row])[0] for row in rows), settings.train)
    return attention_sheet(path, f"{settings.name}, {SPLIT}: where the latents looked", looks, verdicts)


@dataclass(frozen=True)
class Confusion:
    """Counts [true class, predicted class]."""

    counts: NDArray[np.int64]

    @classmethod
    def of(cls, labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> "Confusion":
        """Count every sample once."""
        classes = probabilities.shape[1]
        counts = np.zeros((classes, classes), np.int64)
        np.add.at(counts, (labels, probabilities.argmax(1)), 1)
        return cls(counts)

    def per_class(self, names: Sequence[str]) -> dict[str, dict[str, float]]:
        """Precision, recall and samples of each class; 0 where nothing was predicted or there."""
        right, true, predicted = self.counts.diagonal(), self.counts.sum(1), self.counts.sum(0)
        return {
            name: {
                "precision": float(right[row] / max(predicted[row], 1)),
                "recall": float(right[row] / max(true[row], 1)),
                "samples": int(true[row]),
            }
            for row, name in enumerate(names)
        }

    def recall(self) -> float:
        """Mean recall over the classes that have samples: accuracy as if all were equally frequent."""
        there = self.counts.sum(1) > 0
        return float((self.counts.diagonal()[there] / self.counts.sum(1)[there]).mean())


def metrics(labels: NDArray[np.int64], probabilities: NDArray[np.float32], split: str) -> Mapping[str, float]:
    """Accuracy, mean recall and cross entropy (nats) over all samples."""
    own = probabilities[np.arange(len(labels)), labels]
    confusion = Confusion.of(labels, probabilities)
    return {
        f"{split}/accuracy": float((probabilities.argmax(1) == labels).mean()),
        f"{split}/recall": confusion.recall(),
        f"{split}/loss": float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean()),
    }
