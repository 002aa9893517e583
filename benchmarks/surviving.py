"""What survival costs: taking a checkpoint of a large state, and beginning anew after a kill."""

import os
import signal
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.training.checkpoints import Checkpoint, Checkpoints
from pipelines.training.pulse import accounts
from pipelines.training.saving import Saver
from pipelines.training.state import State
from preprocessing.shards import Shards


def saved(settings: RunSettings, rounds: int) -> dict[str, Any]:
    """Seconds of a checkpoint in each round, and of torch.save with fsync."""
    torch.set_num_threads(1)
    state = State.fresh(settings, Shards.open(settings.shards), torch.device("cpu"))
    for parameter in state.model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    state.optimizer.step()  # Before its first step it has nothing to save.
    checkpoints = Checkpoints.at(f"{settings.workspace}/checkpoints")
    saver = Saver(checkpoints, checkpoints.claim(), heard, failed)
    took: dict[str, list[float]] = {"stands_still": [], "sealed_after": [], "torch_save": []}
    for step in range(1, rounds + 1):
        began = time.perf_counter()
        saver.save(step, state.tensors(), state.record())
        took["stands_still"].append(time.perf_counter() - began)
        saver.wait()
        took["sealed_after"].append(time.perf_counter() - began)
        took["torch_save"].append(by_hand(state, Path(settings.workspace) / "by-hand.pt"))
    saver.finish()
    size = sum(one.nbytes for group in state.tensors().values() for one in group.values())
    return {"parameters": sum(one.numel() for one in state.model.parameters()), "bytes": size, **took}


def heard(checkpoint: Checkpoint) -> None:
    """It is sealed, as it should be."""


def failed(step: int, error: Exception) -> None:
    """No figure without a checkpoint."""
    raise RuntimeError(f"the checkpoint of step {step} could not be saved") from error


def by_hand(state: State, path: Path) -> float:
    """Seconds that training stands still where it writes its checkpoint itself."""
    began = time.perf_counter()
    with path.open("wb") as file:
        torch.save(state.tensors(), file)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


def unseen(done: int, total: int, note: str) -> None:
    """Nobody watches how far it is."""


@dataclass(frozen=True)
class KillOnce:
    """Kills its process when this step begins, the first time; notes when steps begin. A `watch`."""

    step: int
    folder: Path

    def __call__(self, phase: str, step: int, state: State) -> None:  # noqa: ARG002
        if (phase, step) == ("taken", self.step) and not (self.folder / "new").exists():
            (self.folder / "new").write_text(repr(time.time()))
        if (phase, step) == ("begin", self.step) and not (self.folder / "killed").exists():
            (self.folder / "killed").write_text(repr(time.time()))
            os.kill(os.getpid(), signal.SIGKILL)


def recovered(settings: RunSettings, step: int) -> dict[str, float]:
    """Seconds from the kill of a local Ray's only worker to the end of the step that it was about to take."""
    import ray

    from pipelines.stopping import Desk
    from pipelines.training.on_ray import Assignment, until_done
    from pipelines.training.room import per_worker

    shards = Shards.open(settings.shards)
    layout = Layout.of(settings, shards.digest)
    marks = Path(settings.workspace)
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        ray.init("local", num_cpus=2, include_dashboard=False, _temp_dir=scratch, log_to_driver=False)
        try:
            with Desk.below(layout.folder) as desk:
                wanted = per_worker(settings.cluster)
                assignment = Assignment(settings.placed(), shards.digest, wanted, desk, KillOnce(step, marks))
                until_done(assignment, layout, settings.train.steps, unseen)
        finally:
            ray.shutdown()
    killed, new = (float((marks / name).read_text()) for name in ("killed", "new"))
    assert points.curves(layout.points)["train/loss"][-1][0] == settings.train.steps
    return {
        "seconds_to_a_new_step": round(new - killed, 1),
        "steps_done_again": accounts(layout.attempts)[-1].steps_redone,
    }
