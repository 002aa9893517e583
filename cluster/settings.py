"""Where a run's work is done."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The Ray cluster and the share of it that a run takes."""

    address: str = "local"
    """Ray cluster: "local" starts one on this machine for the run, "auto" joins the one that runs here,
    host:port joins another."""
    workers: tuple[int, ...] = (1,)
    """Training processes, one rank each. Two numbers are the least and the most: the training goes on with as
    many of them as there is room for, on the same batches."""
    cpus_per_worker: int = 0
    """CPU cores of each training process; 0: as many as leave room for all on the cluster's nodes."""
    gpus_per_worker: int = 0
    """GPUs of each training process: 0 trains on the CPU (gloo), 1 on GPUs (NCCL)."""
    autoscales: bool = False
    """Whether the cluster adds nodes when they are asked for: then training waits for those that are not
    there yet, instead of refusing to begin. Needs cpus_per_worker."""
    retries: int = 3
    """Times in a row that training starts again from its newest checkpoint without getting any further, after
    workers, nodes or the bucket of the checkpoints were lost."""
    stage_retries: int = 2
    """Times that a stage is tried again, after pauses that grow from about 4 s, when a bucket or the tracking
    server was away or training could not be kept running."""
    resize_seconds: float = 60.0
    """Seconds between looks whether there is room for more workers, where their number may change."""
    hang_seconds: float = 900.0
    """Seconds without a step or an evaluated batch after which a rank counts as hung: it says where it stands
    and ends, and training starts again. Longer than writing a checkpoint takes; 0: it may take for ever."""

    def __post_init__(self) -> None:
        if len(self.workers) not in (1, 2) or min(self.workers) < 1 or self.fewest > self.most:
            raise ValueError(
                f"cluster.workers is {' '.join(map(str, self.workers))}: give a number of processes from 1 "
                f"on, or the least and the most"
            )
        if self.gpus_per_worker not in (0, 1):
            raise ValueError(
                f"cluster.gpus-per-worker is {self.gpus_per_worker}: a rank trains on 0 or 1 GPU; "
                f"for more GPUs raise cluster.workers"
            )
        if self.autoscales and not self.cpus_per_worker:
            raise ValueError(
                "cluster.autoscales needs cluster.cpus-per-worker: the cores of nodes that are not there yet "
                "cannot be shared out"
            )
        for name in ("cpus_per_worker", "retries", "stage_retries", "resize_seconds", "hang_seconds"):
            if getattr(self, name) < 0:
                raise ValueError(f"cluster.{name.replace('_', '-')} is {getattr(self, name)}: 0 is the least")

    @property
    def fewest(self) -> int:
        """The least number of training processes."""
        return self.workers[0]

    @property
    def most(self) -> int:
        """The largest number of training processes."""
        return self.workers[-1]
