"""Takes the stages in their order, as who holds the workspace's lease.

What is up to date is left, what fails for a while is tried again, and what a stage makes is sealed here.
"""

import random
import time
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

from cluster.mistake import AwayError, UserError
from cluster.session import session
from cluster.storage import folder
from pipelines import outlook
from pipelines.artifacts import Trained
from pipelines.course import WHOLE, Course
from pipelines.lease import STALE_SECONDS, Lease, lease
from pipelines.made import Made
from pipelines.progress import say
from pipelines.settings import RunSettings
from pipelines.stages import STAGES, Stage, Task, shard, tags
from pipelines.stopping import LostError
from pipelines.tracking.journal import RunRecord
from pipelines.tracking.tracker import Tracker

FIRST_PAUSE = 4.0
"""Seconds, about, before a stage is tried again; each further pause is twice as long."""

Reasons = dict[str, str]
"""Why each stage would run; empty where it is up to date."""


@dataclass(frozen=True)
class Work:
    """The right to run stages in a workspace."""

    settings: RunSettings
    held: Lease
    first_pause: float = FIRST_PAUSE
    passed: list[str] = field(default_factory=list[str])
    """Stages that were found up to date."""
    renew: bool = False
    """As in `Made`."""

    def perform(self, stage: Stage, reason: str | None = None, *, forced: bool = False) -> bool:
        """Run the stage if there is a reason; whether there was."""
        made = Made(self.settings, self.renew)
        reason = stage.why(made) if reason is None else reason
        forced = forced and not reason
        if forced:
            reason = "it is asked for with --force"
        if stage.anew and (forced or made.changes):
            reason += stage.anew(made)
        if not reason:
            self.passed.append(stage.name)
            say(f"{stage.name}: up to date, {stage.words(made)}")
            return False
        say(f"{stage.name}: {reason}")
        self._try(stage, reason, forced)
        say(f"{stage.name}: {stage.words(Made(self.settings))}")
        return True

    def _try(self, stage: Stage, reason: str, forced: bool) -> None:
        """Again after a while, where the cause may go away by itself."""
        retries = self.settings.cluster.stage_retries
        for attempt in range(1, retries + 2):
            task = Task(
                settings=self.settings, made=Made(self.settings), held=self.held, reason=reason,
                forced=forced, attempt=attempt, passed=tuple(self.passed),
            )  # fmt: skip
            try:
                self._do(stage, task)
                break
            except (AwayError, LostError) as error:
                self.held.check()
                if attempt > retries:
                    raise
                pause = self.first_pause * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
                again = f"it is tried again in {pause:.0f} s ({attempt} of {retries})"
                say(f"{stage.name}: {error}\n{stage.name}: {again}")
                time.sleep(pause)

    def _do(self, stage: Stage, task: Task) -> None:
        if stage.make is None:
            shard(task)
            return
        layout = task.made.layout
        tracker = Tracker.open(self.settings, layout)
        if stage.ready:
            stage.ready(tracker)
        with tracker.stage(stage.name, tags(task)):
            artifact = stage.make(task, tracker)
            self.held.check()
            artifact.seal(stage.place(layout))
        trained, run_id = Trained.open(layout.trained), RunRecord.read(layout.run).run_id
        if trained and run_id not in (
            "",
            trained.run_id,
        ):  # the tracker made the run after the training ended
            self.held.check()
            replace(trained, run_id=run_id).seal(layout.trained)


@contextmanager
def at_work(settings: RunSettings, stale_seconds: float = STALE_SECONDS) -> Generator[Work]:
    """Nobody else works in the workspace meanwhile.

    Raises:
        HeldError: somebody else is at work there.
        OvertakenError: somebody has taken over, as this process was taken for dead.
    """
    folder(settings.workspace)
    what = f"the workflow in {settings.workspace}"
    with lease(settings.root / "lease", what, stale_seconds) as held:
        try:
            yield Work(settings, held)
        except (UserError, LostError):
            held.check()  # whatever else it was, this is why
            raise


def run(settings: RunSettings, course: Course = WHOLE) -> tuple[str, ...]:
    """Raw files to a registered model, or the part of it that is asked for; the stages that ran."""
    reasons = look_ahead(settings, renew=course.renew)
    course.refuse_unready(reasons)
    stages = course.of(STAGES)
    with at_work(settings) as held:
        work = replace(held, renew=course.renew)
        pending = course.force or any(reasons[stage.name] for stage in stages)
        with session(settings.cluster) if pending else nullcontext():
            # To find out why the raw files need sharding takes long where there are many.
            known = {"shard": reasons["shard"]}
            return tuple(
                stage.name
                for stage in stages
                if work.perform(stage, known.get(stage.name), forced=stage.name in course.force)
            )


def only(settings: RunSettings, name: str) -> bool:
    """One stage alone, whose inputs are there; whether it ran."""
    with at_work(settings) as work:
        return work.perform(stage_of(name))


def stage_of(name: str) -> Stage:
    """The stage of this name."""
    return next(stage for stage in STAGES if stage.name == name)


def look_ahead(settings: RunSettings, *, renew: bool = False) -> Reasons:
    """What `perceiver run` would do, with --renew or without; nothing is made.

    Raises:
        UserError: something is in the way.
    """
    outlook.refuse_unreachable(settings)
    made, reasons, later = Made(settings, renew), Reasons(), ""
    for stage in STAGES:
        reasons[stage.name] = later or stage.why(made)
        if reasons[stage.name] and not later:
            later = f"the {stage.noun} comes first"
    return reasons
