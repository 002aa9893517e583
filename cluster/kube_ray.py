"""KubeRay's kinds: a cluster to submit to, a cluster for one run, and such a run on a schedule."""

import shlex
from typing import Any

from cluster import kube_pods
from cluster.deployment import Deployment
from cluster.kube_pods import RUN_FILE, RUN_FOLDER, Manifest

ATTEMPTS_MORE = 2
"""Each is a new cluster, and may begin before the last one has ended: the workspace's lease fences it."""
KEPT_SECONDS = 3600
"""A cluster whose job has ended, for whoever wants to read its logs."""


def ray_cluster(made: Deployment) -> Manifest:
    """A cluster that grows when a run is submitted, and shrinks to its head when there is none."""
    return _kind(made, "RayCluster", made.name, cluster_spec(made, waiting=0))


def ray_job(made: Deployment) -> Manifest:
    """One run on a cluster of its own, which is gone afterwards."""
    return _kind(made, "RayJob", f"{made.name}-run", job_spec(made))


def ray_cron_job(made: Deployment) -> Manifest:
    """The same by the clock."""
    spec = {"schedule": made.cron, "timeZone": made.timezone, "jobTemplate": job_spec(made, "--renew")}
    return _kind(made, "RayCronJob", f"{made.name}-clock", spec)


def job_spec(made: Deployment, *words: str) -> Manifest:
    """What a RayJob is; `words` are behind its command."""
    file, address = f"{RUN_FOLDER}/{RUN_FILE}", ("--cluster.address", "auto")
    command = ["perceiver", "run", file, *made.options, *address, *words]
    return {
        # KubeRay splits this as a shell would, and hands it to one: nothing in it may mean a thing to either.
        "entrypoint": shlex.join(command),
        "submissionMode": "K8sJobMode",
        "backoffLimit": ATTEMPTS_MORE,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": KEPT_SECONDS,
        # As many nodes as training cannot do without are there from the start.
        "rayClusterSpec": cluster_spec(made, waiting=-(-made.fewest // made.ranks_per_node)),
    }


def cluster_spec(made: Deployment, *, waiting: int) -> Manifest:
    """What a RayCluster is, with so many workers that wait for work."""
    return {
        "rayVersion": made.ray_version,
        "authOptions": {"mode": "token", "secretName": made.token_secret},
        "enableInTreeAutoscaling": True,
        "autoscalerOptions": {"idleTimeoutSeconds": made.idle_seconds},
        "headGroupSpec": {
            "rayStartParams": {"num-cpus": "0", "num-gpus": "0", "dashboard-host": "0.0.0.0"},
            "template": kube_pods.head(made),
        },
        "workerGroupSpecs": _groups(made, waiting),
    }


def _groups(made: Deployment, waiting: int) -> list[Manifest]:
    steady = min(waiting, made.steady_nodes)
    groups = [_group(made, "workers", steady, made.steady_nodes, spot=False)] if made.steady_nodes else []
    if made.spot:
        least = min(waiting - steady, made.spot_nodes_most)
        groups.append(_group(made, "spot", least, made.spot_nodes_most, spot=True))
    return groups


def _group(made: Deployment, name: str, least: int, most: int, *, spot: bool) -> Manifest:
    return {
        "groupName": name,
        "replicas": least,
        "minReplicas": least,
        "maxReplicas": most,
        "labels": {"ray.io/market-type": "spot" if spot else "on-demand"},
        "rayStartParams": {},
        "template": kube_pods.worker(made, spot=spot),
    }


def _kind(made: Deployment, kind: str, name: str, spec: Any) -> Manifest:
    metadata = {"name": name, "namespace": made.namespace, "labels": {"app.kubernetes.io/name": made.name}}
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
