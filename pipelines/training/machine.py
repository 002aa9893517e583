"""How busy the first rank's machine is, under the names that MLflow's UI shows as system metrics.

MLflow's own monitor tells its server from a thread beside the training and waits for the answer; these
figures go into the points' file like all others.
"""

import time
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from pipelines.tracking.points import Point

PAUSE_SECONDS = 1.0
"""Between two readings, which cost 0.1 to 0.3 ms each without a GPU."""


class Machine:
    """The machine that this process runs on, and the device that it computes on."""

    def __init__(self, disk: Path, device: torch.device) -> None:
        self.disk, self.device = disk, device
        self.read_at = -PAUSE_SECONDS
        self.received = self.sent = 0
        with suppress(OSError, psutil.Error):
            psutil.cpu_percent()  # the next call tells of the time since this one
            self.received, self.sent = _traffic()

    def read(self) -> Point:
        """What there is to say since the last reading; nothing so soon after it."""
        now = time.monotonic()
        if now - self.read_at < PAUSE_SECONDS:
            return {}
        self.read_at = now
        found: Point = {}
        for part in (self._processor, self._disk, self._network, self._gpu):
            # No figure is worth the training: containers and drivers may lack any of these.
            with suppress(Exception):
                found |= part()
        return {f"system/{name}": value for name, value in found.items()}

    def _processor(self) -> Point:
        memory = psutil.virtual_memory()
        return {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
        }

    def _disk(self) -> Point:
        there = psutil.disk_usage(str(self.disk))
        return {
            "disk_usage_percentage": there.percent,
            "disk_usage_megabytes": there.used / 1e6,
            "disk_available_megabytes": there.free / 1e6,
        }

    def _network(self) -> Point:
        received, sent = _traffic()
        return {
            "network_receive_megabytes": (received - self.received) / 1e6,
            "network_transmit_megabytes": (sent - self.sent) / 1e6,
        }

    def _gpu(self) -> Point:
        if self.device.type != "cuda":
            return {}
        name, (free, total) = f"gpu_{self.device.index or 0}", torch.cuda.mem_get_info(self.device)
        found = {
            f"{name}_memory_usage_megabytes": (total - free) / 1e6,
            f"{name}_memory_usage_percentage": 100 * (total - free) / total,
        }
        # For these torch asks nvidia-ml-py, which is no dependency.
        with suppress(Exception):
            found[f"{name}_utilization_percentage"] = torch.cuda.utilization(self.device)
            found[f"{name}_power_usage_watts"] = torch.cuda.power_draw(self.device) / 1000
        return found


def _traffic() -> tuple[int, int]:
    """Bytes that all network cards received and sent."""
    counters = psutil.net_io_counters()
    return counters.bytes_recv, counters.bytes_sent
