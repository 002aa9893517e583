"""How fast the steps of a rank come, and what share of the hardware they use."""

import time
from dataclasses import dataclass

import numpy as np
import torch

from perceiver.flops import flops
from perceiver.model import Perceiver
from perceiver.step import FORMATS
from perceiver.train_settings import Precision
from pipelines.tracking.points import Point
from pipelines.training.ranks import Ranks


@dataclass(frozen=True, kw_only=True)
class Yardstick:
    """What speed is measured against."""

    batch: int
    """Samples of a step, over all ranks."""
    flops: float
    """Operations of a step over all ranks, forward and backward, as the paper counts them."""
    peak: float
    """Operations per second of all ranks together in large matrix products."""

    @classmethod
    def of(cls, model: Perceiver, batch: int, precision: Precision, ranks: Ranks) -> "Yardstick":
        """Measured on this rank's device; the others are taken to be like it."""
        sample = flops(model.settings, model.positions, model.channels)
        # The backward pass multiplies twice as often as the forward one.
        peak = matmul_peak(ranks.device, FORMATS.get(precision, torch.float32))
        return cls(batch=batch, flops=3.0 * sample * batch, peak=peak * ranks.world)


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Operations per second of the largest product that takes some milliseconds, the best of five."""
    on_gpu = device.type == "cuda"
    # What CPUs do in half precision without matrix units is no peak.
    size, dtype = (8192, dtype) if on_gpu else (512, torch.float32)
    left = torch.ones(size, size, dtype=dtype, device=device)
    product = torch.empty_like(left)
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        torch.mm(left, left, out=product)
        if on_gpu:
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - began)
    return 2.0 * size**3 / best


class Meter:
    """The speed since the last reading, and the steps' times since the last percentiles."""

    def __init__(self, yardstick: Yardstick) -> None:
        self.yardstick = yardstick
        self.steps, self.seconds, self.waiting = 0, 0.0, 0.0
        self.own: list[float] = []

    def add(self, seconds: float, waited: float, own: float) -> None:
        """Count a step: its length, the part that was waiting for data, the part that was the rank's own."""
        self.steps += 1
        self.seconds += seconds
        self.waiting += waited
        self.own.append(own)

    def read(self) -> Point:
        """Speed over the steps since the last reading."""
        steps, seconds, waiting = self.steps, max(self.seconds, 1e-9), self.waiting
        self.steps, self.seconds, self.waiting = 0, 0.0, 0.0
        return {
            "train/samples_per_second": steps * self.yardstick.batch / seconds,
            "train/data_wait": waiting / seconds,
            "train/mfu": steps * self.yardstick.flops / seconds / self.yardstick.peak,
        }

    def percentiles(self, ranks: Ranks) -> Point:
        """The part of a step that was each rank's own: a slow one shows here, as the others wait for it."""
        own = [float(np.percentile(self.own, share)) for share in (50, 95)] if self.own else [0.0, 0.0]
        self.own = []
        found = ranks.gathered(torch.tensor([own], dtype=torch.float64, device=ranks.device)).tolist()
        return {
            f"workers/{rank:03d}_{name}_ms": 1000 * seconds
            for rank, both in enumerate(found)
            for name, seconds in zip(("p50", "p95"), both, strict=True)
        }
