"""Why each stage would run, and what cannot be done at all: found out in seconds, before Ray starts.

A stage's function gives the reason, which is empty where its artifact is up to date; what it relies on of the
stages before is there.
"""

from dataclasses import asdict

from cluster import session
from cluster.mistake import UserError
from cluster.storage import refuse_unwritable
from pipelines.layout import refuse
from pipelines.made import Made
from pipelines.past import earlier_data
from pipelines.settings import RunSettings
from pipelines.tracking.tracker import refuse_absent
from preprocessing import job


def refuse_unreachable(settings: RunSettings) -> None:
    """Find out whether all that a run needs can be reached and written.

    Raises:
        UserError: names what cannot.
    """
    refuse_unwritable(settings.workspace)
    refuse_unwritable(settings.shards)
    if settings.checkpoints:
        refuse_unwritable(settings.checkpoints)
    session.check(settings.cluster)
    refuse_absent(settings)


def why_shard(made: Made) -> str:
    """Why the shards would be built, or built on; what can never be trained on is refused before."""
    survey, reason = job.check(made.settings.data, made.settings.shards)
    if survey is None:
        return ""
    _refuse_batch(made.settings, survey.counts["train"])
    refuse_no_test(survey.counts["test"])
    refuse_model(made.settings)
    return reason


def why_train(made: Made) -> str:
    """Why the training would run, or go on."""
    from pipelines.training.checkpoints import Checkpoints

    settings, shards, layout = made.settings, made.shards, made.layout
    _refuse_batch(settings, shards.counts["train"])
    found = made.changes
    if not made.renew:
        refuse(found, settings)
    refuse_model(settings)
    if found:
        return ", ".join(f"{name} is {now} now, it was {before}" for name, (before, now) in found.items())
    steps = settings.train.total(shards.counts["train"])
    checkpoints, trained = Checkpoints.at(layout.checkpoints), made.trained
    if trained is None:
        if checkpoints.sealed():
            return "it was interrupted"
        return f"nothing is trained on these shards yet ({steps:,} steps){earlier_data(made)}"
    if trained.step < steps:
        return f"step {trained.step:,} of {steps:,} is reached"
    return "" if checkpoints.holds(trained.checkpoint) else f"its {trained.checkpoint} is gone"


def why_evaluate(made: Made) -> str:
    """Why the evaluation would run."""
    refuse_no_test(made.shards.counts["test"])
    report, trained = made.report, made.trained
    if report is None or trained is None:
        return "these weights are not evaluated yet"
    if report.weights == trained.weights:
        return ""
    return f"the weights are newer than the report: {report.weights[:12]} there, {trained.weights[:12]} now"


def why_register(made: Made) -> str:
    """Why the model would be registered."""
    version, trained, settings = made.version, made.trained, made.settings
    if version is None or trained is None:
        return "the model is not registered yet"
    if version.weights != trained.weights:
        held = f"{version.weights[:12]} there, {trained.weights[:12]} now"
        return f"version {version.version} holds older weights: {held}"
    if version.model != settings.name:
        return f"it is registered as {version.model}, name is {settings.name} now"
    if version.alias != settings.tracking.alias:
        return f"alias {settings.tracking.alias} does not point to it yet, {version.alias} does"
    return ""


def why_promote(made: Made) -> str:
    """Why the version would be compared with the champion."""
    promotion, version = made.promotion, made.version
    if promotion is None or version is None:
        return "the model is not compared with the champion yet"
    if (promotion.model, promotion.version) != (version.model, version.version):
        return f"version {version.version} is not compared with the champion yet"
    # What passed, passed: only another alias is another question then.
    asked = {
        name: str(value)
        for name, value in asdict(made.settings.gate).items()
        if name == "champion" or not promotion.moved
    }
    return ", ".join(
        f"gate.{name} is {value} now, it was {promotion.gate.get(name, 'not there')}"
        for name, value in asked.items()
        if promotion.gate.get(name) != value
    )


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
    from pipelines.training.specs import specs

    try:
        with torch.device("meta"):
            Perceiver(settings.model, specs(settings, {}), classes=2)
    except ValueError as error:
        raise UserError(str(error)) from error


def _refuse_batch(settings: RunSettings, samples: int) -> None:
    """A batch that holds a sample twice is a mistake, and so is a rank without samples."""
    batch, workers = settings.train.batch, settings.cluster.most
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
