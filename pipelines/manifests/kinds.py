"""The files that `perceiver manifests` writes: what makes each, and what its first lines say of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from cluster import kube_core, kube_ray, launchers
from cluster.deployment import Deployment

TIMES = """\
A node that is to end has {drain} s for a checkpoint (RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S), and its
pod {grace} s: grace > drain > checkpoint. --checkpoint-seconds changes all of them."""
UP = """\
A Ray cluster on {provider}:  ray up {file}, then in a shell of its own  ray dashboard {file}, then
  {submit} http://localhost:8265
Ray hears nothing before a spot machine is taken away: steps since the last checkpoint are done again."""


@dataclass(frozen=True)
class Kind:
    """One kind of file."""

    make: Callable[[Deployment], dict[str, Any]]
    about: str


VOLUME = Kind(kube_core.volume, "The folder that all nodes mount. Its StorageClass must give ReadWriteMany.")
RUN_FILE = Kind(
    kube_core.run_file, "The run file as the pods see it; write and apply it again when it changes."
)
ON_KUBERNETES: Mapping[str, Kind] = {
    "raycluster": Kind(
        kube_ray.ray_cluster,
        f"""\
A Ray cluster on Kubernetes (KubeRay 1.7 or newer) that grows when a run is submitted:
  {{submit}} http://{{name}}-head-svc:8265
{TIMES}""",
    ),
    "rayjob": Kind(
        kube_ray.ray_job,
        f"""\
One run on a Ray cluster of its own (KubeRay 1.7 or newer), which is gone an hour after it.
A new attempt may begin before the last one has ended: the workspace's lease lets one of them write.
{TIMES}""",
    ),
    "cronjob": Kind(
        kube_core.cron_job,
        """\
Submits the run by the clock to the cluster of raycluster.yaml, and follows it. What is up to date is not
done again; a run that is still at work is not begun twice (Forbid, and the workspace's lease).""",
    ),
    "raycronjob": Kind(
        kube_ray.ray_cron_job,
        f"""\
One run on a Ray cluster of its own, by the clock. ALPHA: KubeRay obeys it only where the operator was
started with the feature gate RayCronJob. It knows no concurrencyPolicy and no history limit, and makes up
for every missed tick one by one: the workspace's lease lets one run write, the others end with status 2.
cronjob.yaml has neither fault.
{TIMES}""",
    ),
}
LAUNCHERS: Mapping[str, Kind] = {
    "aws": Kind(launchers.aws, UP.replace("{provider}", "Amazon")),
    "gcp": Kind(launchers.gcp, UP.replace("{provider}", "Google")),
}
