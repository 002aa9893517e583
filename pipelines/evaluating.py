"""What a set of weights is worth: figures over a split, per class, and pictures of them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.artifacts import Report, Trained
from pipelines.layout import Layout
from pipelines.models.classifier import DESCRIPTION, WEIGHTS, Classifier
from pipelines.models.figures import Confusion, PerClass, figures, per_class
from pipelines.models.predicting import probabilities
from pipelines.pictures import attention, charts
from pipelines.pictures.attention_sheet import Verdict, attention_sheet
from pipelines.pictures.captions import bears, caption, first_labels
from pipelines.progress import Advance
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.tracking.tracker import Tracker
from pipelines.training.checkpoints import Checkpoints
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards

SPLIT = "test"


def evaluate(
    settings: RunSettings, trained: Trained, shards: Shards, tracker: Tracker, advance: Advance
) -> Report:
    """Evaluate the weights on the test split; figures and pictures go to the tracker and into the report,
    which whoever asked seals."""
    layout = Layout.of(settings, shards.digest)
    checkpoints = Checkpoints.at(layout.checkpoints)
    folder = checkpoints.fetched(checkpoints.open(trained.checkpoint), layout.fetched)
    found = probabilities(settings, shards, SPLIT, folder / DESCRIPTION, folder / WEIGHTS, advance)
    reader = Reader(shards, SPLIT, Cache.of(settings.data))
    labels = reader.labels
    metrics = figures(labels, found, SPLIT)
    classes = per_class(labels, found, shards.classes)
    drawn = {
        "learning curve": charts.learning_curve(
            layout.folder / "learning-curve.png", settings.name, points.curves(layout.points)
        ),
        **(
            {"AP per class": _average_precisions(settings, classes, layout)}
            if shards.several
            else {"confusion": _confusion_matrix(settings, Confusion.of(labels, found), shards, layout)}
        ),
        "attention": _attention_sheet(
            settings,
            Classifier.load(folder / DESCRIPTION, folder / WEIGHTS),
            reader,
            found,
            layout.folder / "attention-sheet.png",
        ),
    }
    tracker.result(metrics, trained.step)
    for path in drawn.values():
        tracker.picture(path)
    return Report(
        weights=trained.weights,
        shards=shards.digest,
        samples=len(labels),
        metrics=metrics,
        classes=classes,
        pictures={name: str(path) for name, path in drawn.items()},
    )


def _confusion_matrix(settings: RunSettings, confusion: Confusion, shards: Shards, layout: Layout) -> Path:
    path = layout.folder / "confusion-matrix.png"
    return charts.confusion_matrix(path, f"{settings.name}, {SPLIT}", confusion.counts, shards.classes)


def _average_precisions(settings: RunSettings, classes: PerClass, layout: Layout) -> Path:
    path = layout.folder / "average-precision.png"
    return charts.average_precisions(path, f"{settings.name}, {SPLIT}", classes)


def _attention_sheet(
    settings: RunSettings,
    classifier: Classifier,
    reader: Reader,
    probabilities: NDArray[np.float32],
    path: Path,
) -> Path:
    """Draw where the latents look in a few samples of the split, on this process's CPU."""
    rows = attention.spread(first_labels(reader.labels), attention.SAMPLES)
    verdicts = [
        Verdict(
            true=caption(reader.labels[row], classifier.classes),
            predicted=classifier.classes[probabilities[row].argmax()],
            probability=float(probabilities[row].max()),
            right=bears(reader.labels[row], int(probabilities[row].argmax())),
        )
        for row in rows
    ]
    looks = attention.looks(classifier, (reader.read([row])[0] for row in rows), settings.train)
    return attention_sheet(path, f"{settings.name}, {SPLIT}: where the latents looked", looks, verdicts)
