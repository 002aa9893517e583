"""One contestant of the model's benchmark: in this process, or alone in one of its own, driven over pipes.

    python -m benchmarks.contestant < commands > replies          (started by `Remote`, JSON a line)

The first line is the job; every other one a word: answer, forward, step, peak.
"""

import ctypes
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from benchmarks.cases import Case

PROCESS = Path("/proc/self")


class RefusedError(Exception):
    """The contestant cannot take part; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    who: str
    """As in `benchmarks.cases`."""
    case: Case
    folder: str
    """Where `prepare` left the byte array and the weights."""
    threads: int
    """Of torch."""
    weights: bool = True
    """Begin with our weights; memory is measured without, as reading them leaves holes to fill."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seconds:
    cpu: float
    """Of all threads of the process."""
    wall: float
    """On the clock."""


def ours(who: str) -> bool:
    """Whether our package computes it."""
    return who.startswith("ours") or who == "naive"


def prepare(case: Case, folder: Path) -> None:
    """Leave what peers are given: the byte array that our textbook form reads, and our weights."""
    from benchmarks import ours as side

    np.save(folder / "bytes.npy", side.byte_array(case).numpy())
    np.savez(folder / "weights.npz", *(weight.numpy() for weight in side.weights(case)))


class Local:
    """A contestant of this process."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self.part, self._answer, self.ready_mib = _built(job)
        self.parameters = sum(parameter.numel() for parameter in self.part.parameters())

    def answer(self) -> list[float]:
        """What it computes, for comparing."""
        with torch.no_grad():
            return self._answer().flatten().tolist()

    def forward(self) -> Seconds:
        """As in serving: nothing is kept."""
        with torch.no_grad():
            return timed(self._answer)

    def step(self) -> Seconds:
        """Forward and backward into fresh gradients."""
        for parameter in self.part.parameters():
            parameter.grad = None
        return timed(lambda: self._answer().square().sum().backward())

    def peak(self) -> float:
        """MiB that one step needs above the built model and the stored samples, gradients included.

        Resident memory: torch and its libraries are warm, what was freed is given back, then the kernel's
        high-water mark. A ready byte array counts: it is what a peer's step makes of the stored samples.
        """
        warm = nn.TransformerEncoderLayer(256, 4, 256, batch_first=True)
        checkpoint(warm, torch.randn(1, 512, 256), use_reentrant=False).square().sum().backward()
        del warm
        ctypes.CDLL(None).malloc_trim(0)
        (PROCESS / "clear_refs").write_text("5")
        before = _status("VmRSS")
        self.step()
        return (_status("VmHWM") - before) / 1024 + self.ready_mib


def _built(job: Job) -> tuple[nn.Module, Callable[[], Tensor], float]:
    """The parameters, what computes the answer, and the MiB of the byte array that it was handed."""
    if ours(job.who):
        from benchmarks import ours as side

        try:
            part, answer = side.built(job.case, job.who.removeprefix("ours-").replace("ours", "auto"))
            return part, answer, 0.0
        except side.NotOfferedError as reason:
            raise RefusedError(str(reason)) from reason
    from benchmarks import peers

    folder = Path(job.folder)
    ready = torch.from_numpy(np.load(folder / "bytes.npy"))
    weights: Sequence[Tensor] = ()
    if job.weights:
        stored = np.load(folder / "weights.npz")
        weights = [torch.from_numpy(stored[name]) for name in stored.files]
    try:
        given = 0.0 if job.who == "lucidrains" else ready.nbytes / 2**20
        return *peers.built(job.who, job.case, ready, weights), given
    except ModuleNotFoundError as reason:
        raise RefusedError(f"{reason}: python -m pip install -e '.[peers]'") from reason
    except subprocess.CalledProcessError as reason:
        raise RefusedError("pip could not fetch it (PyPI out of reach?)") from reason


def timed(work: Callable[[], object]) -> Seconds:
    """How long it takes."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Seconds(cpu=time.process_time() - cpu, wall=time.perf_counter() - wall)


def _status(name: str) -> int:
    """KiB."""
    for line in (PROCESS / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"{PROCESS}/status has no {name}: peak memory can be measured on Linux only")


class Remote:
    """The same in a process of its own; to be closed."""

    def __init__(self, job: Job, environment: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contestant"],
            env={**os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.parameters: int = self._ask(json.dumps(dataclasses.asdict(job)))
        except BaseException:
            self.close()
            raise

    def _ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(command, file=self.process.stdin, flush=True)
        reply = self.process.stdout.readline()
        if not reply:
            raise RuntimeError(f"a contestant's process ended with status {self.process.wait()}")
        kind, content = json.loads(reply)
        if kind == "refused":
            raise RefusedError(content)
        return content

    def answer(self) -> list[float]:
        """What it computes, for comparing."""
        return self._ask("answer")

    def forward(self) -> Seconds:
        """As in serving."""
        return Seconds(**self._ask("forward"))

    def step(self) -> Seconds:
        """Forward and backward."""
        return Seconds(**self._ask("step"))

    def peak(self) -> float:
        """MiB of one step."""
        return self._ask("peak")

    def close(self) -> None:
        """End the process, which does so when there is nothing more to read."""
        self.process.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def serve() -> None:
    """Build what the first line names, then obey."""
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # libraries print, but not into the replies
        facts = json.loads(sys.stdin.readline())
        case = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts["case"].items()}
        try:
            contestant = Local(Job(**{**facts, "case": Case(**case)}))
        except RefusedError as reason:
            print(json.dumps(["refused", str(reason)]), file=replies, flush=True)
            return
        print(json.dumps(["done", contestant.parameters]), file=replies, flush=True)
        commands = {"forward": contestant.forward, "step": contestant.step}
        others = {"answer": contestant.answer, "peak": contestant.peak}
        for line in sys.stdin:
            word = line.strip()
            did = dataclasses.asdict(commands[word]()) if word in commands else others[word]()
            print(json.dumps(["done", did]), file=replies, flush=True)


if __name__ == "__main__":
    serve()
