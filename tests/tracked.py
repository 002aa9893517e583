"""Small trainings of several modalities, tracked and registered like any run, in this process without Ray."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from small_runs import draw_pictures

from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings
from pipelines.artifacts import Report, Trained
from pipelines.layout import Layout, binding
from pipelines.models.classifier import DESCRIPTION, WEIGHTS, Classifier
from pipelines.models.figures import Confusion, figures
from pipelines.pictures import charts
from pipelines.registering import register
from pipelines.settings import RunSettings, TrackingSettings
from pipelines.tracking.points import Record
from pipelines.tracking.tracker import Tracker
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import loop
from pipelines.training.outside import Outside
from preprocessing.job import shard_with
from preprocessing.reading import Reader
from preprocessing.settings import AudioSettings, DataSettings, ImageSettings
from preprocessing.shards import Shards


def of_pictures(folder: Path, uri: str) -> RunSettings:
    """A run on pictures that trains in a second."""
    raw = draw_pictures(folder / "pictures")
    image = ImageSettings(size=8)
    data = DataSettings(raw=str(raw), modalities=("image",), image=image, shard_size=16, val=0.2, test=0.2)
    return _placed(folder / "seen", uri, data)


def of_sounds(folder: Path, uri: str) -> RunSettings:
    """The same run on tones of three heights."""
    generator = np.random.default_rng(0)
    for label in range(3):
        (folder / "sounds" / f"column-{label}").mkdir(parents=True)
        for number in range(24):
            tone = np.sin(np.arange(2000) * (0.1 + 0.3 * label)) / 2 + generator.normal(0, 0.05, 2000)
            path = folder / "sounds" / f"column-{label}" / f"{number:03d}.wav"
            soundfile.write(path, tone, 8000, subtype="PCM_16")
    audio = AudioSettings(rate=8000, seconds=0.25, form="raw")
    raw = str(folder / "sounds")
    data = DataSettings(raw=raw, modalities=("audio",), audio=audio, shard_size=16, val=0.2, test=0.2)
    return _placed(folder / "heard", uri, data)


def _placed(work: Path, uri: str, data: DataSettings) -> RunSettings:
    work.mkdir(parents=True)
    return RunSettings(
        name="columns",
        workspace=str(work),
        data=data,
        model=ModelSettings(latents=4, width=16, heads=2, blocks=2, layers=1, bands=2),
        train=TrainSettings(steps=60, batch=12, rate=3e-3, save_every=30, evaluate_every=12),
        tracking=TrackingSettings(uri=uri),
    )


def tracked(settings: RunSettings) -> str:
    """Shard, train, evaluate and register; the id of the run."""
    shards, _ = shard_with(map, settings.data, settings.shards, lambda done, total: None)
    layout = Layout.of(settings, shards.digest)
    tracker = Tracker.open(settings, layout)
    with tracker.stage("train"):
        tracker.dataset(shards.place, shards.digest, shards.counts)
        loop(settings, shards.digest, Outside(publish=Record(layout.points).add))
    trained = _trained(settings, shards, layout)
    with tracker.stage("evaluate"):
        report = _report(settings, shards, layout, tracker, trained)
    with tracker.stage("register"):
        version = register(trained, report, shards, tracker, None)
        tracker.point_alias(version.version)
    return tracker.run_id


def _trained(settings: RunSettings, shards: Shards, layout: Layout) -> Trained:
    checkpoint, _ = Checkpoints.at(layout.checkpoints).newest()
    assert checkpoint
    return Trained(
        checkpoint=checkpoint.name, weights=checkpoint.weights, run_id="", shards=shards.digest,
        step=checkpoint.step, samples_seen=checkpoint.record["samples_seen"], settings=binding(settings),
    ).seal(layout.trained)  # fmt: skip


def _report(
    settings: RunSettings, shards: Shards, layout: Layout, tracker: Tracker, trained: Trained
) -> Report:
    folder = Path(layout.checkpoints, trained.checkpoint)
    reader = Reader(shards, "test")
    classifier = Classifier.load(folder / DESCRIPTION, folder / WEIGHTS)
    found: NDArray[np.float32] = classifier.probabilities(reader.read(range(len(reader))))
    metrics = figures(reader.labels, found, "test")
    tracker.result(metrics, trained.step)
    counts = Confusion.of(reader.labels, found).counts
    path = layout.folder / "confusion-matrix.png"
    tracker.picture(charts.confusion_matrix(path, settings.name, counts, shards.classes))
    return Report(
        weights=trained.weights, shards=shards.digest, samples=len(reader), metrics=metrics,
        classes={}, pictures={},
    ).seal(layout.report)  # fmt: skip
