"""System metrics: figures of the real machine, seldom enough, and never the training's end."""

from pathlib import Path

import pytest
import torch
from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

from pipelines.training.machine import Machine

CPU = torch.device("cpu")


def test_the_names_are_those_of_mlflows_own_monitors(tmp_path: Path) -> None:
    theirs: set[str] = set()
    for monitor in (CPUMonitor(), DiskMonitor(), NetworkMonitor()):
        monitor.collect_metrics()
        theirs |= {f"system/{name}" for name in monitor.metrics}

    assert set(Machine(tmp_path, CPU).read()) == theirs


def test_shares_are_percentages_and_sizes_fit_together(tmp_path: Path) -> None:
    found = Machine(tmp_path, CPU).read()

    shares = {name: value for name, value in found.items() if name.endswith("percentage")}
    assert len(shares) == 3
    assert all(0 <= value <= 100 for value in shares.values()), shares
    used, share = (found[f"system/disk_usage_{unit}"] for unit in ("megabytes", "percentage"))
    room = used + found["system/disk_available_megabytes"]
    assert share == pytest.approx(100 * used / room, abs=0.1), "what root keeps for itself is in neither"


def test_a_second_reading_so_soon_says_nothing(tmp_path: Path) -> None:
    machine = Machine(tmp_path, CPU)

    assert machine.read()
    assert machine.read() == {}


def test_what_cannot_be_read_is_left_out_and_the_rest_is_there(tmp_path: Path) -> None:
    found = Machine(tmp_path / "not there", torch.device("cuda", 99)).read()

    assert "system/cpu_utilization_percentage" in found
    assert not [name for name in found if "disk" in name or "gpu" in name]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_a_gpu_is_among_it(tmp_path: Path) -> None:
    found = Machine(tmp_path, torch.device("cuda", 0)).read()

    assert 0 < found["system/gpu_0_memory_usage_percentage"] <= 100
