"""A training loop as one writes it by hand, and ours beside it: in one process, in turn."""

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed

from perceiver.schedule import rate_factor
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.tracking.points import Point
from pipelines.training.feed import Fed, training_feed
from pipelines.training.loop import Agreed, Training
from pipelines.training.outside import Outside, Watch
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from pipelines.training.watchdog import Watchdog
from preprocessing.reading import Reader
from preprocessing.shards import Shards

FIRST = 20
"""The first step that counts where our loop is alone."""


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Steps of the two loops in turn."""

    turn: int = 20
    """Steps of the one before it is the other's turn."""
    block: int = 100
    """Steps that make one figure, and from one checkpoint to the next."""
    blocks: int

    @property
    def warm(self) -> int:
        """Steps before the first that counts: half a block, to have checkpoints amid a turn."""
        return self.block // 2

    @property
    def last(self) -> int:
        """The step that counts no more."""
        return self.warm + self.blocks * self.block


class Bare:
    """The same model, batches, augmentation, loss, clipping, optimizer and average, and nothing else."""

    def __init__(self, settings: RunSettings, shards: Shards, batches: Sequence[Fed]) -> None:
        state = State.fresh(settings, shards, torch.device("cpu"))
        self.model, self.optimizer, self.average = state.model, state.optimizer, state.average
        self.train, self.batches, self.at = settings.train, batches, 0

    def step(self) -> None:
        """One step."""
        fed, train = self.batches[self.at % len(self.batches)], self.train
        batch = self.model.augment(fed.batch, fed.seeds, train)
        self.optimizer.zero_grad(set_to_none=True)
        loss = F.cross_entropy(self.model(batch), fed.labels, label_smoothing=train.label_smoothing)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), train.clip or float("inf"))
        for group in self.optimizer.param_groups:
            group["lr"] = train.rate * rate_factor(train, self.at, train.steps)
        self.optimizer.step()
        if self.average:
            self.average.update(self.model, self.at)
        self.at += 1

    def steps(self, count: int) -> float:
        """So many steps; the seconds that they took."""
        began = time.perf_counter()
        for _ in range(count):
            self.step()
        return time.perf_counter() - began


class Timed(Training):
    """Our loop, with the seconds that went into some of its parts."""

    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.parts: dict[str, float] = defaultdict(float)
        self.looped: dict[str, float] = {}
        self.began: list[float] = []
        """When each step did."""
        self.gaps: list[float] = []
        """Seconds between the end of the step before and this one: waiting for data, seen from outside."""
        self.left = time.perf_counter()

    @contextmanager
    def within(self, part: str) -> Generator[None]:
        """Count these seconds for a part."""
        began = time.perf_counter()
        yield
        self.parts[part] += time.perf_counter() - began

    def step(self, fed: Fed) -> Agreed:
        self.began.append(time.perf_counter())
        self.gaps.append(self.began[-1] - self.left)
        return super().step(fed)

    def agree(self, seen: Tensor, norm: Tensor) -> Agreed:
        with self.within("agreement"):
            return super().agree(seen, norm)

    def count(self, fed: Fed, seconds: float) -> None:
        with self.within("accounts"):
            super().count(fed, seconds)

    def now_and_then(self) -> None:
        with self.within("points and snapshots"):
            super().now_and_then()
        self.left = time.perf_counter()

    def save(self) -> None:
        with self.within("snapshots"):
            super().save()

    def end(self, *, stopped: bool) -> None:
        """What is saved at the end is no part of a step."""
        self.looped = {**self.parts, "data": sum(self.gaps[1:])}
        super().end(stopped=stopped)


def trained(settings: RunSettings, shards: Shards, watch: Watch, stop_wanted: Callable[[], bool]) -> Timed:
    """What `loop` does, with points on the disk, until a stop is wanted."""
    layout = Layout.of(settings, shards.digest)
    layout.folder.mkdir(parents=True, exist_ok=True)

    def publish(point: Point) -> None:
        points.append(layout.points, point)

    with Watchdog(settings) as watchdog:
        outside = Outside(publish=publish, watch=watch, stop_wanted=stop_wanted)
        training = Timed(settings, shards, outside, watchdog)
        training.run()
    return training


class Turns:
    """Lets the bare loop go between two steps of ours; handed in as its `watch`."""

    def __init__(self, bare: Bare, pace: Pace, stop: Path) -> None:
        self.bare, self.pace, self.stop = bare, pace, stop
        self.seconds: dict[str, list[float]] = {"bare": [0.0] * pace.blocks, "ours": [0.0] * pace.blocks}
        self.resumed, self.weights_differ = 0.0, 0.0

    def __call__(self, phase: str, step: int, state: State) -> None:
        now, pace, counted = time.perf_counter(), self.pace, step - self.pace.warm
        if phase != "begin" or counted < 0 or step > pace.last or counted % pace.turn:
            return
        if counted == 0:
            self.bare.steps(pace.warm)
            self.weights_differ = distance(self.bare.model, state.model)
        else:
            self.seconds["ours"][(counted - 1) // pace.block] += now - self.resumed
        if step == pace.last:
            self.stop.touch()
        else:
            self.seconds["bare"][counted // pace.block] += self.bare.steps(pace.turn)
        self.resumed = time.perf_counter()


def distance(one: torch.nn.Module, other: torch.nn.Module) -> float:
    """How far the weights of two models are apart, as a share of their length."""
    ours, theirs = (
        torch.nn.utils.parameters_to_vector(model.parameters()).detach() for model in (one, other)
    )
    return float((ours - theirs).norm() / theirs.norm())


def in_turns(settings: RunSettings, pace: Pace) -> dict[str, Any]:
    """Seconds a step of both loops in each block, and those of our loop's parts."""
    torch.set_num_threads(1)
    shards = Shards.open(settings.shards)
    ranks = Ranks.here(on_gpu=False)
    model = State.fresh(settings, shards, ranks.device).model
    ahead = range(pace.warm + pace.block)
    bare = Bare(settings, shards, list(training_feed(model, Reader(shards, "train"), ranks, ahead, settings)))
    stop = Path(settings.workspace) / "stop"
    turns = Turns(bare, pace, stop)
    training = trained(settings, shards, turns, stop.exists)
    steps = training.state.progress.step
    parts = {part: 1000 * seconds / steps for part, seconds in training.looped.items()}
    parts["points"] = parts.pop("points and snapshots") - parts.setdefault("snapshots", 0.0)
    return {
        "ms_a_step": {who: [1000 * one / pace.block for one in took] for who, took in turns.seconds.items()},
        "parts_ms_a_step": parts,
        "weights_differ": turns.weights_differ,
    }


def steady(
    settings: RunSettings, threads: int, steps: int, rank: int = 0, world: int = 1, joined: bool = True
) -> dict[str, float]:
    """Our loop at its usual pace, start-up left out: samples a second, and the share of waiting for data.

    The ranks are one training where they are `joined`, else as many at once. They meet before they begin.
    """
    torch.set_num_threads(threads)
    place = Path(settings.workspace)
    place.mkdir(parents=True, exist_ok=True)
    meet(place, rank, world)
    if world > 1 and joined:
        distributed.init_process_group(
            "gloo", init_method=f"file://{place}/store", rank=rank, world_size=world
        )
    elif world > 1:
        settings = replace(settings, workspace=f"{place}/{rank}")
    shards = Shards.open(settings.shards)
    stop = Path(settings.workspace) / "stop"

    def watch(phase: str, step: int, state: State) -> None:  # noqa: ARG001
        if (phase, step) == ("begin", FIRST + steps):
            stop.touch()

    training = trained(settings, shards, watch, stop.exists)
    took = training.began[FIRST + steps] - training.began[FIRST]
    own = points.curves(Layout.of(settings, shards.digest).points)["train/data_wait"]
    return {
        "samples_per_second": steps * settings.train.batch / took,
        "data_wait": sum(training.gaps[FIRST : FIRST + steps]) / took,
        "data_wait_said": statistics.mean([share for step, share in own if step > FIRST]),
    }


def meet(place: Path, rank: int, world: int) -> None:
    """Go on when all are here: what takes seconds, the imports, is over."""
    (place / f"here-{rank}").touch()
    while len(list(place.glob("here-*"))) < world:
        time.sleep(0.01)
