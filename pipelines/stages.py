"""The stages as a table, in their order: adding one is a matter of one row.

Whether a stage runs, how often it is tried, and where its artifact is sealed is the same for all, and stands
in `workflow.py`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from cluster.session import session
from cluster.storage import write_whole
from pipelines import outlook
from pipelines.artifacts import Artifact, ModelVersion, Promotion, Report, Trained
from pipelines.gate.settings import GateSettings
from pipelines.layout import Layout
from pipelines.lease import Lease
from pipelines.made import Made
from pipelines.progress import progress, say
from pipelines.settings import RunSettings
from pipelines.tracking.tracker import Tracker
from preprocessing import job
from preprocessing.objections import reasons_table


@dataclass(frozen=True, kw_only=True)
class Task:
    """A stage that is to run."""

    settings: RunSettings
    made: Made
    held: Lease
    """Checked right before anything is sealed."""
    reason: str
    forced: bool
    """Whether it runs though it would be up to date."""
    attempt: int
    """How often this command has tried it, this time included."""
    passed: tuple[str, ...]
    """Stages that this command found up to date."""


Make = Callable[[Task, Tracker], Artifact]
"""Makes the artifact; it is sealed by who asked."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row."""

    name: str
    noun: str
    """As in "the training comes first"."""
    why: Callable[[Made], str]
    """Why it would run; empty where its artifact is up to date."""
    words: Callable[[Made], str]
    """What is there, once it is done."""
    make: Make | None = None
    """None of the shards, which have a seal of their own."""
    place: Callable[[Layout], Path] = attrgetter("folder")
    """Where the artifact is sealed."""
    ready: Callable[[Tracker], None] | None = None
    """Refuses to begin."""
    anew: Callable[[Made], str] | None = None
    """Makes room for what a forced run makes, and says where the old one stays."""


def shard(task: Task) -> None:
    """Raw files to shards; forced, every raw file's content is compared."""
    settings, data, began = task.settings, task.settings.data, time.time()
    if task.forced:
        data = replace(data, verify_content=True)
    with session(settings.cluster), progress("shard") as advance:
        shards, _ = job.shard(
            data, settings.shards, lambda done, total: advance(done, total, ""), task.held.check
        )
    if shards.quarantined:
        say(f"shard: {shards.quarantined:,} are no samples; {settings.shards}/quarantine.parquet lists them:")
        say(reasons_table(shards.refused()))
    _say_too_few(shards.counts["test"], settings.gate)
    layout = Layout.of(settings, shards.digest)
    layout.folder.mkdir(parents=True, exist_ok=True)
    times = {"began": began, "ended": time.time(), "tags": tags(task)}
    write_whole(layout.sharding, json.dumps(times).encode())


def _say_too_few(samples: int, gate: GateSettings) -> None:
    """What the gate will refuse in the end is known now."""
    if samples < gate.samples:
        say(
            f"shard: {samples:,} test samples are fewer than gate.samples ({gate.samples:,}), so no version "
            f"becomes {gate.champion} by itself: have more, raise data.test or lower gate.samples"
        )


def tags(task: Task) -> dict[str, str]:
    """What the history says of this run of a stage."""
    known = {"attempt": str(task.attempt), "reason": task.reason[:500], "lease": str(task.held.number)}
    return {**known, "up_to_date": ", ".join(task.passed)} if task.passed else known


def _train(task: Task, tracker: Tracker) -> Trained:
    from pipelines.training.on_ray import train
    from pipelines.training.warm_start import settle

    with tracker.registry() as registry:
        begun = settle(task.settings, task.made.shards, registry, task.held)
    tracker.tag({"warm_start": str(begun)})
    with session(task.settings.cluster), progress("train") as advance:
        return train(task.settings, task.made.shards, tracker, advance)


def _evaluate(task: Task, tracker: Tracker) -> Report:
    from pipelines.evaluating import evaluate

    with session(task.settings.cluster), progress("evaluate") as advance:
        return evaluate(task.settings, there(task.made.trained), task.made.shards, tracker, advance)


def _register(task: Task, tracker: Tracker) -> ModelVersion:
    from pipelines.registering import register

    made = task.made
    trained, report = there(made.trained), there(made.report)
    version = register(trained, report, made.shards, tracker, made.version, anew=task.forced)
    task.held.check()
    tracker.point_alias(version.version)
    return version


def _promote(task: Task, tracker: Tracker) -> Promotion:
    from pipelines.gate.contest import Contest
    from pipelines.gate.promoting import promote

    made, settings = task.made, task.settings
    with session(settings.cluster), progress("promote") as advance:
        contest = Contest(settings, there(made.trained), there(made.version), made.shards, advance)
        return promote(contest, tracker, task.held.check)


def _train_anew(made: Made) -> str:
    """The next training gets a folder of its own; the one before stays where it is, with all of it."""
    before = made.layout.folder
    if not before.exists():
        return ""
    made.layout.next().mkdir()
    return f"; the training before it stays in {before}"


def there(artifact: Any) -> Any:
    """An artifact that the stage before has just made."""
    assert artifact is not None
    return artifact


def figures(report: Report) -> str:
    """All metrics in a line."""
    return ", ".join(f"{name} {value:.4f}" for name, value in report.metrics.items())


def _shard_words(made: Made) -> str:
    counts = ", ".join(f"{count:,} {split}" for split, count in made.shards.counts.items())
    classes = f"{len(made.shards.classes):,} classes"
    return f"{counts} samples of {classes} in {made.shards.place}, from {made.shards.found:,} files"


def _train_words(made: Made) -> str:
    trained: Trained = there(made.trained)
    return f"step {trained.step:,}, {trained.samples_seen:,} samples seen, {trained.checkpoint} kept"


def _evaluate_words(made: Made) -> str:
    report: Report = there(made.report)
    return f"{figures(report)} over {report.samples:,} samples"


def _register_words(made: Made) -> str:
    version: ModelVersion = there(made.version)
    return f"{version.model} version {version.version}, alias {version.alias}"


def _promote_words(made: Made) -> str:
    promotion: Promotion = there(made.promotion)
    what, alias = f"{promotion.model} version {promotion.version}", promotion.gate["champion"]
    if promotion.moved:
        return f"{what} is {alias}: {promotion.reason}"
    if promotion.promoted:
        way = f"perceiver promote {promotion.model}/{promotion.version}"
        return f"{what} may become {alias} (`{way}`): {promotion.reason}"
    return f"{what} is not made {alias}: {promotion.reason}"


STAGES = (
    Stage(name="shard", noun="sharding", why=outlook.why_shard, words=_shard_words),
    Stage(name="train", noun="training", why=outlook.why_train, words=_train_words, make=_train,
          place=attrgetter("trained"), anew=_train_anew),
    Stage(name="evaluate", noun="evaluation", why=outlook.why_evaluate, words=_evaluate_words, make=_evaluate,
          place=attrgetter("report")),
    Stage(name="register", noun="registration", why=outlook.why_register, words=_register_words,
          make=_register, place=attrgetter("version"), ready=Tracker.refuse_away),
    Stage(name="promote", noun="promotion", why=outlook.why_promote, words=_promote_words, make=_promote,
          place=attrgetter("promotion"), ready=Tracker.refuse_away),
)  # fmt: skip
NAMES = tuple(stage.name for stage in STAGES)
