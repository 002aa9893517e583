"""The training loop of one rank: the same under Ray Train, under torchrun and in one process.

A step is learnt from, agreed on, and taken; what happens every so often is a question with a plain answer.
"""

import time
from contextlib import closing
from typing import NamedTuple

import torch

from perceiver.schedule import rate_factor
from perceiver.step import clipped, update
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking.points import Point
from pipelines.training.checkpoints import Checkpoint, Checkpoints, Tensors
from pipelines.training.every import Every, due
from pipelines.training.feed import Fed, training_feed
from pipelines.training.guard import Guard
from pipelines.training.learning import learn
from pipelines.training.machine import Machine
from pipelines.training.meter import Meter, Yardstick
from pipelines.training.outside import Outside
from pipelines.training.pulse import Pulse, accounts, goodput
from pipelines.training.ranks import Ranks
from pipelines.training.saving import Saver
from pipelines.training.state import State, Sums
from pipelines.training.validating import validate
from pipelines.training.watchdog import Watchdog
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards


def loop(settings: RunSettings, digest: str, outside: Outside) -> bool:
    """Train this rank's share on the shards of this digest, from the newest checkpoint; whether to the end.

    False where the outside wanted it to stop: then what was learnt is saved.

    Raises:
        UserError: the shards are damaged, the checkpoint is of other settings, or the loss stays no number.
        OvertakenError: another attempt at this training has begun.
    """
    with Watchdog(settings) as watchdog:
        training = Training(settings, Shards.open(settings.shards, digest), outside, watchdog)
        with closing(training.saver):
            return training.run()


def held(checkpoint: Checkpoint) -> Tensors:
    """All tensors of a checkpoint."""
    return {group: checkpoint.tensors(group) for group in checkpoint.groups}


class Agreed(NamedTuple):
    """What all ranks know of a step before it is taken, each the same."""

    loss: float
    """Mean over the global batch."""
    correct: float
    """Samples of the global batch."""
    norm: float
    """Norm of all gradients before they were bounded."""
    stop: bool
    """Whether the outside wants the training to stop."""


class Training:
    """One attempt of one rank: the constants, the state, and what the loop does with them."""

    def __init__(self, settings: RunSettings, shards: Shards, outside: Outside, watchdog: Watchdog) -> None:
        self.settings, self.train, self.outside, self.watchdog = settings, settings.train, outside, watchdog
        self.layout = Layout.of(settings, shards.digest)
        self.ranks = Ranks.here(settings.cluster.gpus_per_worker > 0)
        cache = Cache.of(settings.data)
        self.reader, self.validation = Reader(shards, "train", cache), Reader(shards, "val", cache)
        self.total = settings.train.total(len(self.reader))
        self.every = Every.of(settings, len(self.reader), self.total)
        self.checkpoints = Checkpoints.at(self.layout.checkpoints)
        # Before the newest is looked for: whoever claims later finds all that this attempt may still seal.
        self.attempt: int = self.ranks.told(self.checkpoints.claim() if self.ranks.first else None)
        self.state = State.fresh(settings, shards, self.ranks.device)
        if found := self.agreed(self.checkpoints.newest()[0] if self.ranks.first else None):
            self.state.take_up(found.record, held(found))
        guessing = self.state.objective.guessing(len(shards.classes))
        self.guard = Guard(settings=self.train, guessing=guessing)
        self.stepping = self.ranks.wrapped(self.state.model)
        self.saver = Saver(self.checkpoints, self.attempt, self.saved, self.unsaved)
        self.meter = Meter(Yardstick.of(self.state.model, self.train.batch, self.train.precision, self.ranks))
        self.machine = Machine(self.layout.folder, self.ranks.device)
        begin = self.state.progress.step
        pulses = self.layout.attempts
        self.pulse = Pulse.begin(pulses, self.attempt, self.ranks.world, begin) if self.ranks.first else None
        if self.pulse and self.pulse.account.furthest:
            self.note(self.pulse.account.beginning)
        self.asked_at, self.handed_over = time.monotonic(), begin

    def run(self) -> bool:
        """The loop; whether it reached the last step."""
        steps = range(self.state.progress.step, self.total)
        agreed = None
        for fed in training_feed(self.state.model, self.reader, self.ranks, steps, self.settings):
            began = time.perf_counter()
            agreed = self.step(fed)
            self.count(fed, time.perf_counter() - began)
            self.now_and_then()
            if agreed.stop:
                break
        self.end(stopped=agreed is not None and agreed.stop)
        return self.state.progress.step == self.total

    def step(self, fed: Fed) -> Agreed:
        """Learn from a batch, if all agree that it is healthy."""
        began, state, rate = time.perf_counter(), self.state, self.rate(fed.step)
        self.watch("begin", fed.step)
        learnt = learn(state, self.stepping, fed, self.ranks)
        self.own = fed.waited + learnt.ready - began
        self.watch("scored", fed.step)
        norm = clipped(state.model.parameters(), self.train.clip, state.scale.factor)
        agreed = self.agree(torch.stack([learnt.loss, learnt.correct]), norm)
        self.watch("agreed", fed.step)
        moves = state.scale.moves and state.scale.factor > 1
        verdict = self.guard.verdict(state.progress, agreed.loss, agreed.norm, moves)
        if verdict == "take":
            update(state.optimizer, rate)
            if state.average:
                state.average.update(state.model, fed.step)
            state.progress = state.progress.taken()
            state.unread = state.unread.plus(agreed.loss, agreed.correct, agreed.norm)
        else:
            state.progress = state.progress.passed(bad=verdict != "rescale")
        state.scale = state.scale.after(verdict == "take")
        if verdict in ("skip", "roll back"):
            what = f"the loss is {agreed.loss:g}, the gradient's norm {agreed.norm:g}"
            self.note(f"step {fed.step + 1:,} was not taken: {what}")
        # Weights that were never seen healthy again are not what a run ends with.
        if verdict == "roll back" or (state.progress.streak and state.progress.step == self.total):
            self.roll_back()
        self.watch("taken", fed.step)
        return agreed

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        return self.train.rate * rate_factor(self.train, step, self.total)

    def agree(self, seen: torch.Tensor, norm: torch.Tensor) -> Agreed:
        """Sums over all ranks, and what the first one heard from outside."""
        words = torch.zeros(2, dtype=seen.dtype, device=seen.device)
        if self.ranks.first and time.monotonic() - self.asked_at >= self.outside.asked_seconds:
            self.asked_at = time.monotonic()
            words = torch.tensor([1.0, float(self.outside.stop_wanted())]).to(seen)
        # One message for all of it. Norms are alike, unless one rank's memory is not what it was.
        whole = self.ranks.total(torch.cat([seen, norm[None].to(seen), words])).tolist()
        loss, correct, norms, asked, stop = whole
        preempted = bool(asked) and self.outside.preempted()
        return Agreed(loss / self.train.batch, correct, norms / self.ranks.world, bool(stop) or preempted)

    def count(self, fed: Fed, seconds: float) -> None:
        """Keep account of a step's time."""
        self.watchdog.alive()
        self.meter.add(seconds + fed.waited, fed.waited, self.own)
        if self.pulse:
            self.pulse.beat(self.pulse.account.stepped(seconds, fed.waited))

    def now_and_then(self) -> None:
        """What is due after the step that was just taken."""
        began, step = time.perf_counter(), self.state.progress.step
        often = (self.every.log, self.every.evaluate, self.every.save)
        logging, evaluating, saving = (due(step, each, self.total) for each in often)
        if not (logging or evaluating or saving):
            return
        self.saver.check()
        self.tell(self.means())
        # Amid bad steps the weights may be no numbers, of which there are no figures.
        if evaluating and len(self.validation) and not self.state.progress.streak:
            self.tell(validate(self.state, self.validation, self.ranks, self.watchdog))
        if saving:
            self.tell(self.meter.percentiles(self.ranks))
        if saving:
            self.save()
        if self.pulse:
            self.pulse.beat(self.pulse.account.waited(time.perf_counter() - began))

    def means(self) -> Point:
        """Means over the steps since the last point, and how fast they came."""
        progress, unread = self.state.progress, self.state.unread
        self.state.unread = Sums()
        samples = unread.steps * self.train.batch
        learnt: Point = {
            "train/loss": unread.loss / unread.steps,
            "train/accuracy": unread.correct / samples,
            "train/gradient_norm": unread.norm / unread.steps,
        } if unread.steps else {}  # fmt: skip
        so_far = {
            "train/skipped": progress.skipped,
            "train/rollbacks": progress.rollbacks,
            "train/rate": self.rate(progress.step - 1),
        }
        return {**learnt, **so_far, **self.meter.read(), **self.machine.read()}

    def tell(self, metrics: Point) -> None:
        """Hand a point over, once for all ranks."""
        if self.ranks.first:
            progress = self.state.progress
            seen = {"train/samples_seen": progress.learnt * self.train.batch}
            self.outside.publish({"step": progress.step, "time": time.time(), **seen, **metrics})

    def save(self) -> None:
        """Hand the state to the writer in the background, once a step, and never amid bad steps.

        What went wrong may be the weights: whoever began from them would have nothing to go back to.
        """
        step = self.state.progress.step
        if step == self.handed_over or self.state.progress.streak:
            return
        if not self.healthy():
            self.note(f"the weights of step {step:,} are not all numbers, and are not saved")
            if step < self.total:
                return
            self.roll_back()
        self.handed_over = step
        self.watch("saving", step)
        if self.ranks.first:
            self.saver.save(step, self.state.tensors(), self.state.record())

    def healthy(self) -> bool:
        """Whether all weights of all ranks are numbers."""
        ill = torch.tensor([float(not self.state.finite)], device=self.ranks.device)
        return self.ranks.total(ill).item() == 0

    def saved(self, checkpoint: Checkpoint) -> None:
        """A checkpoint is sealed."""
        self.watch("saved", checkpoint.step)

    def unsaved(self, step: int, error: Exception) -> None:
        """A checkpoint could not be sealed; the next one is another try."""
        self.note(f"the checkpoint of step {step:,} could not be saved: {error}")

    def note(self, text: str) -> None:
        """Tell the person, once for all ranks."""
        if self.ranks.first:
            self.outside.note(text)

    def watch(self, phase: str, step: int) -> None:
        """Let the outside see where the loop is."""
        self.outside.watch(phase, step, self.state)

    def agreed(self, found: Checkpoint | None) -> Checkpoint | None:
        """The checkpoint that the first rank found, the same on all."""
        name = self.ranks.told(found.name if found else None)
        return found or (self.checkpoints.open(name) if name else None)

    def earlier(self) -> Checkpoint | None:
        """The newest checkpoint that has learnt less than the weights have; where there is none, the oldest.

        To go back to the very same weights would help nobody: they may be what is ill.
        """
        whole = list(self.checkpoints.whole_ones())
        less = [one for one in whole if one.record["progress"]["learnt"] < self.state.progress.learnt]
        return next(iter([*less[:1], *whole[-1:]]), None)

    def roll_back(self) -> None:
        """Take a checkpoint's weights, or those of the beginning; the batches since are left out.

        Nothing is saved here: whoever is killed now comes back to the same steps, and goes back alike.
        """
        if self.ranks.first:
            self.saver.wait()
        state, found = self.state, self.agreed(self.earlier() if self.ranks.first else None)
        if found:
            state.take_up_weights(found.record, held(found))
        else:
            fresh = State.fresh(self.settings, state.shards, self.ranks.device)
            state.take_up_weights(fresh.record(), fresh.tensors())
        learnt = found.record["progress"]["learnt"] if found else 0
        state.progress, state.unread = state.progress.rolled_back(learnt), Sums()
        begin, now = found.step if found else 0, state.progress.step
        self.note(f"the weights went back to step {begin:,}; the batches until step {now:,} are left out")

    def end(self, *, stopped: bool) -> None:
        """Nothing is lost: what a stop came before is saved, and what is being written is awaited."""
        if stopped and self.state.progress.step < self.total:
            self.save()
        if self.ranks.first:
            self.saver.finish()
        if self.pulse:
            self.tell(goodput(accounts(self.layout.attempts)))
            self.pulse.end()
        self.ranks.wait()
