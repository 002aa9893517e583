"""Why each stage would run, and what cannot be done at all: found out in seconds, before Ray starts."""

import json

from cluster import session
from cluster.mistake import UserError
from cluster.storage import refuse_unwritable
from pipelines import tracking
from pipelines.artifacts import ModelVersion, Report, Trained
from pipelines.layout import Layout, refuse_change
from pipelines.settings import RunSettings
from preprocessing import job
from preprocessing.shards import Shards

Reasons = dict[str, str]
"""Why each stage would run; empty where it is up to date."""


def look_ahead(settings: RunSettings) -> Reasons:
    """What `perceiver run` would do.

    Raises:
        UserError: something is in the way.
    """
    refuse_unwritable(settings.workspace)
    refuse_unwritable(settings.shards)
    session.check(settings.cluster)
    tracking.check(settings.tracking_uri)
    survey, reason = job.check(settings.data, settings.shards)
    if survey:
        _refuse_batch(settings, survey.counts["train"])
        refuse_no_test(survey.counts["test"])
        refuse_model(settings)
        later = "the shards come first"
        return {"shard": reason, "train": later, "evaluate": later, "register": later}
    shards = Shards.open(settings.shards)
    layout = Layout.of(settings, shards.digest)
    reasons: Reasons = {"shard": "", "train": why_train(settings, shards)}
    trained = Trained.open(layout.trained)
    if reasons["train"] or trained is None:
        return {**reasons, "evaluate": "the training comes first", "register": "the training comes first"}
    reasons["evaluate"] = why_evaluate(settings, shards, trained)
    reasons["register"] = (
        "the evaluation comes first" if reasons["evaluate"] else why_register(settings, trained, layout)
    )
    return reasons


def why_train(settings: RunSettings, shards: Shards) -> str:
    """Why the training would run, or go on."""
    _refuse_batch(settings, shards.counts["train"])
    if shards.several:
        raise UserError(
            f"The samples in {shards.place} have several labels each, and training takes one a sample. "
            f"Give data.labels a table with the column label instead of labels, and shard into another place."
        )
    layout = Layout.of(settings, shards.digest)
    if layout.run.exists():
        refuse_change(json.loads(layout.run.read_bytes())["settings"], settings, layout)
    refuse_model(settings)
    steps = settings.train.total(shards.counts["train"])
    trained = Trained.open(layout.trained)
    if trained is None:
        begun = any(layout.checkpoints.glob("step-*"))
        return "it was interrupted" if begun else f"nothing is trained on these shards yet ({steps:,} steps)"
    if trained.step < steps:
        return f"step {trained.step:,} of {steps:,} is reached"
    return "" if (layout.checkpoints / trained.checkpoint).is_dir() else f"its {trained.checkpoint} is gone"


def why_evaluate(settings: RunSettings, shards: Shards, trained: Trained) -> str:
    """Why the evaluation would run."""
    refuse_no_test(shards.counts["test"])
    report = Report.open(Layout.of(settings, shards.digest).report)
    if report is None:
        return "these weights are not evaluated yet"
    return "" if report.weights == trained.weights else "the weights are newer than the report"


def why_register(settings: RunSettings, trained: Trained, layout: Layout) -> str:
    """Why the model would be registered."""
    version = ModelVersion.open(layout.version)
    if version is None:
        return "the model is not registered yet"
    if version.weights != trained.weights:
        return f"version {version.version} holds older weights"
    if version.model != settings.name:
        return f"it is registered as {version.model}"
    moved = version.alias != settings.tracking.alias
    return f"alias {settings.tracking.alias} does not point to it yet" if moved else ""


def refuse_no_test(samples: int) -> None:
    """What is never evaluated is never registered."""
    if not samples:
        raise UserError(
            "There are no test samples, so there is nothing to evaluate on. "
            "Add a folder test/ to the raw files, or set data.test above 0 and shard into another place."
        )


def refuse_model(settings: RunSettings) -> None:
    """A model that the data settings do not fit is found out on a device without memory."""
    import torch

    from perceiver.model import Perceiver
    from pipelines.specs import specs

    try:
        with torch.device("meta"):
            Perceiver(settings.model, specs(settings, {}), classes=2)
    except ValueError as error:
        raise UserError(str(error)) from error


def _refuse_batch(settings: RunSettings, samples: int) -> None:
    """A batch that holds a sample twice is a mistake, and so is a rank without samples."""
    batch, workers = settings.train.batch, settings.cluster.workers
    if batch > samples:
        raise UserError(
            f"train.batch is {batch}, and the training split holds {samples} samples. "
            f"Choose a batch of at most {samples}, or add data."
        )
    if workers > batch:
        raise UserError(
            f"cluster.workers is {workers}, and train.batch is {batch}: each worker needs at least one "
            f"sample of every batch. Choose at most {batch} workers, or a larger batch."
        )
