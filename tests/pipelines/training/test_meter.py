"""The meter's arithmetic: speed since the last reading, and each rank's own share of its steps."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perceiver.flops import flops
from pipelines.settings import RunSettings
from pipelines.training.meter import Meter, Yardstick, matmul_peak
from pipelines.training.ranks import Ranks
from pipelines.training.state import State
from preprocessing.shards import Shards

ALONE = Ranks(0, 1, torch.device("cpu"))
YARDSTICK = Yardstick(batch=32, flops=6e9, peak=1e11)
SECONDS = st.floats(0, 100, allow_nan=False)


def test_speed_is_that_since_the_last_reading() -> None:
    meter = Meter(YARDSTICK)
    meter.add(9.0, 9.0, 9.0)
    meter.read()
    for seconds, waited in ((0.25, 0.05), (0.5, 0.0), (0.25, 0.05)):
        meter.add(seconds, waited, 0.1)

    found = meter.read()

    assert found == pytest.approx({
        "train/samples_per_second": 3 * 32 / 1.0,
        "train/data_wait": 0.1,
        "train/mfu": 3 * 6e9 / 1.0 / 1e11,
    })  # fmt: skip
    assert meter.read()["train/samples_per_second"] == 0


@given(st.lists(SECONDS, min_size=1, max_size=40))
def test_percentiles_are_numpys_over_the_steps_since_the_last(own: list[float]) -> None:
    meter = Meter(YARDSTICK)
    meter.add(1.0, 0.0, 1e6)
    meter.percentiles(ALONE)
    for seconds in own:
        meter.add(1.0, 0.0, seconds)

    found = meter.percentiles(ALONE)

    assert found == pytest.approx({
        "workers/000_p50_ms": 1000 * np.percentile(own, 50),
        "workers/000_p95_ms": 1000 * np.percentile(own, 95),
    })  # fmt: skip
    assert meter.percentiles(ALONE) == {"workers/000_p50_ms": 0.0, "workers/000_p95_ms": 0.0}


def test_the_yardstick_counts_three_forward_passes_of_every_sample(
    settings: RunSettings, shards: Shards
) -> None:
    model = State.fresh(settings, shards, ALONE.device).model

    one = Yardstick.of(model, 12, "float32", ALONE)
    two = Yardstick.of(model, 12, "float32", Ranks(0, 2, ALONE.device))

    assert one.flops == two.flops == 3 * 12 * flops(model.settings, model.positions, model.channels)
    assert two.peak > 0
    assert one.batch == two.batch == 12


def test_the_peak_is_that_of_all_ranks_together(settings: RunSettings, shards: Shards) -> None:
    """Measured twice on a busy machine, so that only a number of ranks far from 1 can tell."""
    model = State.fresh(settings, shards, ALONE.device).model

    one = Yardstick.of(model, 12, "float32", ALONE)
    many = Yardstick.of(model, 12, "float32", Ranks(0, 1000, ALONE.device))

    assert 30 < many.peak / one.peak < 30_000


def test_the_peak_is_one_that_a_core_may_have() -> None:
    assert 1e8 < matmul_peak(ALONE.device, torch.float32) < 1e13
