"""What the files of a cluster are made from: one run's demands, and what a provider lends."""

import re
from dataclasses import dataclass, field

DRAIN_MARGIN_SECONDS = 30
"""Between a node's notice and the checkpoint: Ray Train asks every 5 s, and a step ends first."""
GRACE_MARGIN_SECONDS = 30
"""Between the end of Ray's drain and the kubelet's SIGKILL: Ray's own processes end meanwhile."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """The folder that all nodes mount: the workspace lies on it."""

    claim: str = "perceiver"
    """Name of the PersistentVolumeClaim."""
    path: str = "/mnt/perceiver"
    """Where every container has it. Relative places of the run file lie below."""
    gib: int = 100
    """Size in GiB."""
    storage_class: str = ""
    """StorageClass that can give ReadWriteMany (EFS, Filestore, CephFS); empty: the cluster's default."""
    nfs: str = ""
    """HOST:/EXPORT of the file system that machines of aws and gcp mount (EFS, Filestore)."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"/[\w./-]*\w", self.path):
            raise ValueError(f"volume.path is {self.path!r}: give an absolute path, as /mnt/perceiver")
        if self.gib < 1:
            raise ValueError(f"volume.gib is {self.gib}: 1 is the least")
        if self.nfs and not re.fullmatch(r"[\w.-]+:/[\w./-]*", self.nfs):
            raise ValueError(f"volume.nfs is {self.nfs!r}: give HOST:/EXPORT")


@dataclass(frozen=True, kw_only=True)
class Aws:
    """What Amazon is asked for."""

    region: str = "eu-central-1"
    """Region of all machines; the file system and the buckets should lie there too."""
    head: str = "m6i.xlarge"
    """Instance type of the head, which never works itself."""
    worker: str = ""
    """Instance type of the workers; empty: g6.2xlarge with GPUs, m6i.4xlarge without."""
    profile: str = ""
    """IAM instance profile of the workers, for buckets; empty: none. The head has Ray's own."""
    image: str = ""
    """Machine image (AMI) with Docker and, for GPUs, NVIDIA's driver; empty: Ray's default for the region."""


@dataclass(frozen=True, kw_only=True)
class Gcp:
    """What Google is asked for."""

    project: str = ""
    """Project ID."""
    zone: str = "europe-west4-a"
    """Zone of all machines."""
    head: str = "n2-standard-4"
    """Machine type of the head, which never works itself."""
    worker: str = ""
    """Machine type of the workers; empty: g2-standard-8 (one L4) with GPUs, n2-standard-16 without."""
    image: str = ""
    """Machine image of the workers with Docker and NVIDIA's driver, as projects/P/global/images/family/F;
    empty: Ray's default, which has no driver."""

    @property
    def region(self) -> str:
        """The region that the zone is in."""
        return self.zone.rpartition("-")[0]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One run on one cluster: everything that its files say."""

    name: str
    """Of the cluster; other names begin with it."""
    namespace: str = "default"
    run_file: str
    """The run file's text."""
    options: tuple[str, ...] = ()
    """Options behind the run file: its places on the volume, and what else was given."""
    image: str
    ray_version: str
    fewest: int
    """Ranks without which training waits."""
    most: int
    """Ranks at most."""
    spot: int = 0
    """Ranks, of the most, on machines that may be taken away."""
    ranks_per_node: int = 1
    cpus: int = 4
    """CPU cores of each rank."""
    gpus: int = 0
    """GPUs of each rank."""
    memory_gib: int = 16
    """Memory of each rank."""
    checkpoint_seconds: int = 60
    """Seconds that writing a checkpoint takes at the most."""
    idle_seconds: int = 300
    """Seconds after which a node without work is given back."""
    token_secret: str = "perceiver-ray-token"
    """Secret whose key `auth_token` holds Ray's token."""
    env_secret: str = ""
    """Secret whose keys become environment variables, for buckets and the tracking server; empty: none."""
    spot_nodes: str = "karpenter.sh/capacity-type=spot"
    """Label of nodes that may be taken away."""
    cron: str = ""
    timezone: str = "Etc/UTC"
    volume: Volume = field(default_factory=Volume)
    aws: Aws = field(default_factory=Aws)
    gcp: Gcp = field(default_factory=Gcp)

    @property
    def drain_seconds(self) -> int:
        """How long Ray keeps a node that was told to end: long enough for a checkpoint."""
        return self.checkpoint_seconds + DRAIN_MARGIN_SECONDS

    @property
    def grace_seconds(self) -> int:
        """How long Kubernetes waits for a pod that it told to end: longer than Ray's drain."""
        return self.drain_seconds + GRACE_MARGIN_SECONDS

    @property
    def steady_nodes(self) -> int:
        """Nodes that are not taken away."""
        return -(-(self.most - self.spot) // self.ranks_per_node)

    @property
    def spot_nodes_most(self) -> int:
        """Nodes that may be."""
        return -(-self.spot // self.ranks_per_node)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of every Ray process."""
        return {
            # The notice, the checkpoint and the end fit into each other; a stopped job has the same time.
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(self.drain_seconds),
            "RAY_JOB_STOP_WAIT_TIME_S": str(self.drain_seconds),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }


def cluster_name(run_name: str) -> str:
    """A name that Kubernetes takes, of the run's: KubeRay appends to it, and 63 letters are the most."""
    return re.sub(r"[^a-z0-9]+", "-", run_name.lower()).strip("-")[:40].rstrip("-")


def tag_of(image: str) -> str:
    """The image's tag or digest; empty where it has none, which means a tag that moves."""
    name, at, digest = image.partition("@")
    return digest if at else name.rpartition("/")[2].partition(":")[2]


def ray_of(image: str) -> str:
    """The version of Ray that an image's name tells: `rayproject/ray:2.60.0-gpu`, `mine:1-ray2.60.0`."""
    tag, name = tag_of(image.partition("@")[0]), image.partition("@")[0].rpartition("/")[2]
    of_ray = re.match(r"(\d+\.\d+\.\d+)", tag) if name.startswith("ray") else None
    found = of_ray or re.search(r"ray[-_]?(\d+\.\d+\.\d+)", tag)
    return found[1] if found else ""
