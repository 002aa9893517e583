"""Pictures of what a model looked at in the first inputs that it answered, one picture an input."""

import json
import re
from collections.abc import Iterable, Mapping
from itertools import islice
from pathlib import Path

from perceiver.train_settings import MeshAugmentation, TrainSettings
from pipelines.models.classifier import Classifier
from pipelines.models.inputs import Inputs, Shown
from pipelines.pictures.attention import looks
from pipelines.pictures.attention_sheet import Verdict, attention_sheet
from preprocessing.inventory import ending
from preprocessing.labels import SEPARATOR
from preprocessing.refusal import Refused

PLAIN = re.compile(r"[^A-Za-z0-9._-]+")
LONGEST = 80
"""Characters of a source's name that a picture keeps, in its own name and in its heading."""


def explain(
    files: Mapping[str, Path], inputs: Inputs, texts: Iterable[str], folder: Path, count: int
) -> list[Path]:
    """Draw the first `count` inputs of a plan's texts that are no refusals; `files` are the model's."""
    classifier = Classifier.load(files["description"], files["weights"])
    seen = (one for text in texts for one in inputs.read(text) if not isinstance(one.seen, Refused))
    shown = list(islice(seen, count))
    samples = [one.seen for one in shown if not isinstance(one.seen, Refused)]
    found = looks(classifier, samples, _train(files["description"]))
    drawn: list[Path] = []
    for number, (one, look, sample) in enumerate(zip(shown, found, samples, strict=True), start=1):
        stem = one.source[: len(one.source) - len(ending(one.source))]
        name = PLAIN.sub("-", stem)[-LONGEST:].lstrip("-.")
        verdict = _verdict(one, classifier.probabilities([sample])[0].tolist(), classifier.classes)
        path = folder / f"{number:03d}-{name}.png"
        drawn.append(attention_sheet(path, "where the latents looked", [look], [verdict]))
    return drawn


def _verdict(one: Shown, probabilities: list[float], classes: tuple[str, ...]) -> Verdict:
    probability = max(probabilities)
    predicted = classes[probabilities.index(probability)]
    if one.label is None:
        return Verdict(true=one.source[-LONGEST:], predicted=predicted, probability=probability, right=None)
    right = predicted in (one.label, *one.label.split(SEPARATOR))
    return Verdict(true=one.label, predicted=predicted, probability=probability, right=right)


def _train(description: Path) -> TrainSettings:
    """Which way is up in a mesh, as the training was told."""
    trained = json.loads(description.read_bytes()).get("settings", {})
    up = trained.get("train.mesh.up", MeshAugmentation().up)
    return TrainSettings(mesh=MeshAugmentation(up=up))
