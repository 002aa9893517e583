"""What each command does, what it tells the person, and the object that --json prints."""

import os
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.session import check as check_session
from cluster.storage import folder
from pipelines import workflow
from pipelines.course import WHOLE, Course
from pipelines.layout import refuse_change
from pipelines.lease import holder
from pipelines.made import Made
from pipelines.progress import say
from pipelines.settings import RunSettings, as_params
from pipelines.stages import NAMES, there
from pipelines.tracking import mlflow_ui, reach
from pipelines.tracking import tracker as tracking
from pipelines.tracking.journal import RunRecord
from pipelines.usual import ShowOptions, in_words
from preprocessing.objections import refuse_other_settings

Answer = dict[str, Any]


def show(settings: RunSettings, options: ShowOptions) -> Answer:
    """The settings, and what each stage would do and why; nothing is made."""
    reasons = workflow.look_ahead(settings)
    params = as_params(settings)
    every = [f"{name} = {value}" for name, value in params.items()]
    for line in every if options.all else in_words(params, "--all lists them"):
        say(f"  {line}")
    for stage, reason in reasons.items():
        say(f"{stage:9} {'would run: ' + reason if reason else 'up to date'}")
    if found := holder(settings.root / "lease"):
        say(f"at work   {found}")
    return {"settings": asdict(settings), "stages": reasons, "at_work": str(found) if found else ""}


def run(settings: RunSettings, course: Course = WHOLE) -> Answer:
    """All stages, or those that are asked for, in one Ray session."""
    began = time.monotonic()
    ran = workflow.run(settings, course)
    try:
        tracking.tell_rest(settings)
    except UserError as error:  # all stages are done all the same
        say(f"tracking: {error}")
    say(f"\ndone in {time.monotonic() - began:.0f} s")
    made, last = Made(settings), course.last or NAMES[-1]
    done = NAMES[: NAMES.index(last) + 1]
    if "evaluate" in done:
        _say_figures(made)
    if "register" in done:
        version = there(made.version)
        say(f"  model           {version.model} version {version.version} (alias {version.alias})")
        if "promote" in done:
            _say_verdict(made)
        _say_pictures(made)
        say(f"  MLflow UI       {tracking.command('ui', settings)}")
        say(f"                  {_link(settings, made.layout.run)}")
        _say_next(made)
    return {**ANSWERS[last](made), "ran": list(ran)}


def shard(settings: RunSettings) -> Answer:
    """Raw files to shards."""
    workflow.look_ahead(settings)
    ran = workflow.only(settings, "shard")
    return {**_shards(Made(settings)), "skipped": not ran}


def train(settings: RunSettings) -> Answer:
    """Shards to weights."""
    _prepared(settings)
    workflow.only(settings, "train")
    return _trained(Made(settings))


def evaluate(settings: RunSettings) -> Answer:
    """Weights to figures."""
    _refuse_untrained(_prepared(settings))
    workflow.only(settings, "evaluate")
    return _report(Made(settings))


def register(settings: RunSettings) -> Answer:
    """Weights and figures to a registered model."""
    made = _prepared(settings)
    _refuse_untrained(made)
    _refuse_unevaluated(made)
    workflow.only(settings, "register")
    return _version(Made(settings))


def tell(settings: RunSettings) -> Answer:
    """What the tracker was not told yet, of all trainings of the workspace."""
    left = tracking.tell_rest(settings)
    say(f"told: {left} are left" if left else f"{settings.tracking_uri} was told everything")
    return {"tracking_uri": settings.tracking_uri, "points": left.points, "events": left.events}


def ui(settings: RunSettings) -> Answer:
    """Serve the MLflow UI until Ctrl-C.

    Raises:
        UserError: there is nothing to show, or it cannot be served.
    """
    if not settings.tracking.uri and not settings.root.is_dir():
        raise UserError(
            f"{settings.run_file} has no run in {settings.workspace} yet. First: perceiver run "
            f"{settings.run_file}"
        )
    link = _link(settings)
    if reach.is_server(settings.tracking_uri):
        say(f"The tracking server serves its own UI: {link}")
        return {"url": link}
    port = settings.tracking.port
    mlflow_ui.refuse_taken(port, settings.run_file)
    say(f"ui: MLflow starts on {settings.tracking_uri}")
    with suppress(KeyboardInterrupt):
        mlflow_ui.serve(settings.tracking_uri, port, lambda: say(f"open {link}\nCtrl-C ends it"))
    return {"url": link}


def _prepared(settings: RunSettings) -> Made:
    """What there is, once everything that a single later stage relies on has been looked at.

    Raises:
        UserError: there are no shards, or they were made with other settings, or something cannot be reached.
    """
    folder(settings.workspace)
    check_session(settings.cluster)
    tracking.refuse_absent(settings)
    made = Made(settings)
    refuse_other_settings(made.shards, settings.data, settings.shards)
    return made


def _refuse_untrained(made: Made) -> None:
    from pipelines.training.checkpoints import Checkpoints

    trained, settings, layout = made.trained, made.settings, made.layout
    if trained is None:
        raise UserError(f"Nothing is trained on these shards yet. First: perceiver train {settings.run_file}")
    refuse_change(trained.settings, settings)
    if not Checkpoints.at(layout.checkpoints).holds(trained.checkpoint):
        raise UserError(
            f"{trained.checkpoint} is gone or replaced. First: perceiver train {settings.run_file}"
        )


def _refuse_unevaluated(made: Made) -> None:
    report, command = made.report, f"First: perceiver evaluate {made.settings.run_file}"
    if report is None:
        raise UserError(f"The trained weights have no report yet. {command}")
    if report.weights != there(made.trained).weights:
        raise UserError(f"The report is of older weights. {command}")


def _shards(made: Made) -> Answer:
    shards = made.shards
    return {
        "shards": shards.place, "digest": shards.digest, "samples": shards.counts,
        "quarantined": shards.quarantined,
    }  # fmt: skip


def _trained(made: Made) -> Answer:
    trained = there(made.trained)
    return {
        "checkpoint": f"{made.layout.checkpoints}/{trained.checkpoint}", "run_id": trained.run_id,
        "step": trained.step, "samples_seen": trained.samples_seen,
    }  # fmt: skip


def _report(made: Made) -> Answer:
    report = there(made.report)
    return {"metrics": dict(report.metrics), "samples": report.samples}


def _version(made: Made) -> Answer:
    whole = asdict(there(made.version))
    return {name: whole[name] for name in ("model", "version", "alias", "metrics", "run_id", "tracking_uri")}


def _promotion(made: Made) -> Answer:
    promotion = there(made.promotion)
    told = {"promoted": promotion.promoted, "champion": promotion.moved, "reason": promotion.reason}
    return {**_version(made), **told}


ANSWERS: Mapping[str, Callable[[Made], Answer]] = {
    "shard": _shards, "train": _trained, "evaluate": _report, "register": _version, "promote": _promotion,
}  # fmt: skip
"""What `--json` prints once this stage is done."""


def _say_figures(made: Made) -> None:
    report = there(made.report)
    for name in ("test/mAP", "test/accuracy") if made.shards.several else ("test/accuracy",):
        say(f"  {name.replace('/', ' '):15} {report.metrics[name]:.4f} over {report.samples:,} samples")


def _say_verdict(made: Made) -> None:
    promotion = there(made.promotion)
    which = "this version" if promotion.moved else "not this version"
    page = f" ({promotion.page})" if promotion.page else ""
    say(f"  {made.settings.gate.champion:15} {which}: {promotion.reason}{page}")
    if not promotion.moved:
        words = ["promote", f"{promotion.model}/{promotion.version}"]
        forced = [] if promotion.promoted else ["--force", "--reason", "TEXT"]
        say(f"  {'':15} all the same: {_of_store(made.settings, *words, *forced)}")


def _say_next(made: Made) -> None:
    """What one does with a model that was registered."""
    settings, moved = made.settings, made.promotion and made.promotion.moved
    alias = settings.gate.champion if moved else settings.tracking.alias
    words = ["predict", f"{settings.name}@{alias}", "FOLDER", "--output", "answers.parquet"]
    say(f"  use it          {_of_store(settings, *words)}")


def _of_store(settings: RunSettings, *words: str) -> str:
    """A command on a model of this run's store."""
    return shlex.join(["perceiver", *words, "--tracking.uri", settings.tracking_uri])


def _say_pictures(made: Made) -> None:
    for name, path in there(made.report).pictures.items():
        say(f"  {name:15} {path}")


def _link(settings: RunSettings, run: Path | None = None) -> str:
    """The deep link to a run, or to the newest of the workspace, or to the front page where there is none."""
    records = [run] if run else sorted((settings.root / "trainings").glob("*/run.json"), key=os.path.getmtime)
    record = RunRecord.read(records[-1]) if records else RunRecord()
    ids = (record.experiment_id, record.run_id) if record.run_id else None
    return reach.link(settings.tracking_uri, settings.tracking.port, ids)
