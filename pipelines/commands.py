"""What each command does, what it tells the person, and the object that --json prints."""

import json
import os
import shlex
import subprocess
import sys
import time
from contextlib import nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.session import check as check_session
from cluster.session import session
from cluster.storage import folder
from pipelines import tracking, workflow
from pipelines.artifacts import ModelVersion, Report, Trained
from pipelines.layout import Layout, refuse_change
from pipelines.outlook import look_ahead
from pipelines.progress import say
from pipelines.settings import RunSettings, as_params
from preprocessing.objections import refuse_other_settings
from preprocessing.shards import Shards

Answer = dict[str, Any]


def show(settings: RunSettings) -> Answer:
    """The resolved settings, and what each stage would do and why; nothing is made."""
    for name, value in as_params(settings).items():
        say(f"  {name} = {value}")
    reasons = look_ahead(settings)
    for stage, reason in reasons.items():
        say(f"{stage:9} {'would run: ' + reason if reason else 'up to date'}")
    return {"settings": asdict(settings), "stages": reasons}


def run(settings: RunSettings) -> Answer:
    """All four stages, in one Ray session."""
    began = time.monotonic()
    pending = any(look_ahead(settings).values())
    folder(settings.workspace)
    with session(settings.cluster) if pending else nullcontext():
        version = workflow.run(settings)
    shards = Shards.open(settings.shards)
    report = _report(settings, shards)
    say(f"\ndone in {time.monotonic() - began:.0f} s")
    say(f"  test accuracy   {report.metrics['test/accuracy']:.4f} over {report.samples:,} samples")
    say(f"  model           {version.model} version {version.version} (alias {version.alias})")
    for name, path in report.pictures.items():
        say(f"  {name:15} {path}")
    say(f"  MLflow UI       {_ui_command(settings)}")
    say(f"                  {_link(settings, Layout.of(settings, shards.digest).run)}")
    return _version(version)


def shard(settings: RunSettings) -> Answer:
    """Raw files to shards."""
    look_ahead(settings)
    folder(settings.workspace)
    shards, skipped = workflow.shard(settings)
    return {
        "shards": shards.place, "digest": shards.digest, "samples": shards.counts,
        "quarantined": shards.quarantined, "skipped": skipped,
    }  # fmt: skip


def train(settings: RunSettings) -> Answer:
    """Shards to weights."""
    shards = _prepared(settings)
    trained = workflow.train(settings, shards)
    checkpoint = Layout.of(settings, shards.digest).checkpoints / trained.checkpoint
    return {
        "checkpoint": str(checkpoint), "run_id": trained.run_id,
        "step": trained.step, "samples_seen": trained.samples_seen,
    }  # fmt: skip


def evaluate(settings: RunSettings) -> Answer:
    """Weights to figures."""
    shards = _prepared(settings)
    report = workflow.evaluate(settings, _trained(settings, shards), shards)
    return {"metrics": dict(report.metrics), "samples": report.samples}


def register(settings: RunSettings) -> Answer:
    """Weights and figures to a registered model."""
    shards = _prepared(settings)
    trained, report = _trained(settings, shards), _report(settings, shards)
    if report.weights != trained.weights:
        raise UserError(f"The report is of older weights. First: perceiver evaluate {settings.run_file}")
    return _version(workflow.register(settings, trained, report, shards))


def ui(settings: RunSettings) -> Answer:
    """Serve the MLflow UI until Ctrl-C."""
    link = _link(settings)
    if tracking.is_server(settings.tracking_uri):
        say(f"The tracking server serves its own UI: {link}")
        return {"url": link}
    say(f"open {link}\nCtrl-C ends it")
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", settings.tracking_uri]
    with suppress(KeyboardInterrupt):
        served = subprocess.run([*command, "--port", str(settings.tracking.port)], check=False)
        if served.returncode:
            raise UserError(
                f"The MLflow UI ended with status {served.returncode}. If port {settings.tracking.port} "
                f"is in use, choose another with --tracking.port."
            )
    return {"url": link}


def _prepared(settings: RunSettings) -> Shards:
    """The shards, once everything that a single later stage relies on has been looked at.

    Raises:
        UserError: there are none, or they were made with other settings, or something cannot be reached.
    """
    folder(settings.workspace)
    check_session(settings.cluster)
    tracking.check(settings.tracking_uri)
    shards = Shards.open(settings.shards)
    refuse_other_settings(shards, settings.data, settings.shards)
    return shards


def _trained(settings: RunSettings, shards: Shards) -> Trained:
    trained = Trained.open(Layout.of(settings, shards.digest).trained)
    if trained is None:
        raise UserError(f"Nothing is trained on these shards yet. First: perceiver train {settings.run_file}")
    layout = Layout.of(settings, shards.digest)
    refuse_change(trained.settings, settings, layout)
    if not (layout.checkpoints / trained.checkpoint).is_dir():
        raise UserError(
            f"{trained.checkpoint} is gone or replaced. First: perceiver train {settings.run_file}"
        )
    return trained


def _report(settings: RunSettings, shards: Shards) -> Report:
    report = Report.open(Layout.of(settings, shards.digest).report)
    if report is None:
        raise UserError(
            f"The trained weights have no report yet. First: perceiver evaluate {settings.run_file}"
        )
    return report


def _version(version: ModelVersion) -> Answer:
    whole = asdict(version)
    return {name: whole[name] for name in ("model", "version", "alias", "metrics", "run_id", "tracking_uri")}


def _ui_command(settings: RunSettings) -> str:
    """The command that opens the UI on this run; the options that name the place are repeated."""
    options = []
    if settings.tracking.uri:
        options += ["--tracking.uri", settings.tracking.uri]
    return shlex.join(["perceiver", "ui", settings.run_file, "--workspace", settings.workspace, *options])


def _link(settings: RunSettings, run: Path | None = None) -> str:
    """The deep link to a run, or to the newest of the workspace, or to the front page where there is none."""
    records = [run] if run else sorted((settings.root / "trainings").glob("*/run.json"), key=os.path.getmtime)
    record = json.loads(records[-1].read_bytes()) if records else None
    ids = (record["experiment_id"], record["run_id"]) if record else None
    return tracking.link(settings.tracking_uri, settings.tracking.port, ids)
