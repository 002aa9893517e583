"""The four stages: each takes the settings and the artifacts before it, and gives its own.

A stage whose artifact is there, made from these inputs with these settings, gives that one.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

from cluster.session import session
from cluster.storage import write_whole
from pipelines import outlook
from pipelines.artifacts import ModelVersion, Report, Trained
from pipelines.layout import Layout
from pipelines.progress import progress, say
from pipelines.settings import RunSettings
from pipelines.tracking import Tracker
from preprocessing import job
from preprocessing.shards import Shards


def run(settings: RunSettings) -> ModelVersion:
    """Raw files to a registered model."""
    shards, _ = shard(settings)
    trained = train(settings, shards)
    report = evaluate(settings, trained, shards)
    return register(settings, trained, report, shards)


def shard(settings: RunSettings) -> tuple[Shards, bool]:
    """The shards of the raw files, and whether they were up to date."""
    survey, reason = job.check(settings.data, settings.shards)
    if survey is None:
        shards = Shards.open(settings.shards)
        say(f"shard: up to date, {_counts(shards)} in {settings.shards}")
        return shards, True
    say(f"shard: {reason}")
    began = time.time()
    with session(settings.cluster), progress("shard") as advance:
        shards, _ = job.shard(settings.data, settings.shards, lambda done, total: advance(done, total, ""))
    say(f"shard: {_counts(shards)} in {settings.shards}, from {shards.found:,} files")
    if shards.quarantined:
        say(f"shard: {shards.quarantined:,} are no samples; {settings.shards}/quarantine.parquet says why")
    layout = Layout.of(settings, shards.digest)
    layout.folder.mkdir(parents=True, exist_ok=True)
    write_whole(layout.sharding, json.dumps({"began": began, "ended": time.time()}).encode())
    return shards, False


def train(settings: RunSettings, shards: Shards) -> Trained:
    """The weights after the last step."""
    layout = Layout.of(settings, shards.digest)
    reason = outlook.why_train(settings, shards)
    if not reason:
        trained = _there(Trained.open(layout.trained))
        say(f"train: up to date, step {trained.step:,}")
        return trained
    from pipelines.training import train as train_on_ray

    say(f"train: {reason}")
    tracker = Tracker.open(settings, layout)
    with tracker.stage("train"), session(settings.cluster), progress("train") as advance:
        trained = train_on_ray(settings, shards, tracker, advance)
    say(f"train: step {trained.step:,}, {trained.samples_seen:,} samples seen, {trained.checkpoint} kept")
    return trained


def evaluate(settings: RunSettings, trained: Trained, shards: Shards) -> Report:
    """Figures and pictures over the test split."""
    layout = Layout.of(settings, shards.digest)
    reason = outlook.why_evaluate(settings, shards, trained)
    if not reason:
        report = _there(Report.open(layout.report))
        say(f"evaluate: up to date, {_figures(report.metrics)}")
        return report
    from pipelines.evaluating import evaluate as evaluate_on_ray

    say(f"evaluate: {reason}")
    tracker = Tracker.open(settings, layout)
    with tracker.stage("evaluate"), session(settings.cluster), progress("evaluate") as advance:
        report = evaluate_on_ray(settings, trained, shards, tracker, advance)
    say(f"evaluate: {_figures(report.metrics)} over {report.samples:,} samples")
    return report


def register(settings: RunSettings, trained: Trained, report: Report, shards: Shards) -> ModelVersion:
    """The registered model."""
    layout = Layout.of(settings, shards.digest)
    reason = outlook.why_register(settings, trained, layout)
    if not reason:
        version = _there(ModelVersion.open(layout.version))
        say(f"register: up to date, {version.model} version {version.version}")
        return version
    from pipelines.registering import register as register_in_mlflow

    say(f"register: {reason}")
    tracker = Tracker.open(settings, layout)
    with tracker.stage("register"):
        version = register_in_mlflow(settings, trained, report, shards, tracker)
    say(f"register: {version.model} version {version.version}, alias {version.alias}")
    return version


def _there(artifact: Any) -> Any:
    assert artifact is not None  # the outlook has just opened it
    return artifact


def _counts(shards: Shards) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in shards.counts.items()) + " samples"


def _figures(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
