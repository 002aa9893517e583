"""Where a run's work is done."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The Ray cluster and the share of it that a run takes."""

    address: str = "local"
    """Ray cluster: "local" starts one on this machine for the run, "auto" joins the one that runs here,
    host:port joins another."""
    workers: int = 1
    """Training processes, one rank each."""
    cpus_per_worker: int = 0
    """CPU cores of each training process; 0: as many as leave room for all on the cluster's nodes."""
    gpus_per_worker: int = 0
    """GPUs of each training process: 0 trains on the CPU (gloo), 1 on GPUs (NCCL)."""
    retries: int = 3
    """Times that training starts again from its newest checkpoint after a worker or node was lost."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise ValueError(f"cluster.workers is {self.workers}: at least 1 process has to train")
        if self.gpus_per_worker not in (0, 1):
            raise ValueError(
                f"cluster.gpus-per-worker is {self.gpus_per_worker}: a rank trains on 0 or 1 GPU; "
                f"for more GPUs raise cluster.workers"
            )
        for name in ("cpus_per_worker", "retries"):
            if getattr(self, name) < 0:
                raise ValueError(f"cluster.{name.replace('_', '-')} is {getattr(self, name)}: 0 is the least")
