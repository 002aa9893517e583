"""Kubernetes' own kinds: the volume, the run file, and the clock that submits it."""

from typing import Any

from cluster import kube_pods
from cluster.deployment import Deployment
from cluster.kube_pods import RUN_FILE, RUN_FOLDER, Manifest

LATE_SECONDS = 3600
"""A tick that could not begin within an hour is left out. Without it 100 missed ticks stop the clock."""


def volume(made: Deployment) -> Manifest:
    """The folder that all pods share."""
    spec: Manifest = {
        "accessModes": ["ReadWriteMany"],
        "resources": {"requests": {"storage": f"{made.volume.gib}Gi"}},
    }
    if made.volume.storage_class:
        spec["storageClassName"] = made.volume.storage_class
    return _kind(made, "v1", "PersistentVolumeClaim", made.volume.claim, {"spec": spec})


def run_file(made: Deployment) -> Manifest:
    """The run file, as it is."""
    return _kind(made, "v1", "ConfigMap", f"{made.name}-run", {"data": {RUN_FILE: made.run_file}})


def cron_job(made: Deployment) -> Manifest:
    """Submits the run by the clock; what is up to date is not done again, what runs is followed."""
    command = [
        "perceiver", "submit", f"{RUN_FOLDER}/{RUN_FILE}", *made.options,
        "--cluster.address", f"http://{made.name}-head-svc:8265", "--renew", "--follow",
    ]  # fmt: skip
    job = {
        "backoffLimit": 2,
        "ttlSecondsAfterFinished": 7 * 24 * 3600,
        "template": kube_pods.submitter(made, command),
    }
    spec = {
        "schedule": made.cron,
        "timeZone": made.timezone,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": LATE_SECONDS,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {"spec": job},
    }
    return _kind(made, "batch/v1", "CronJob", f"{made.name}-clock", {"spec": spec})


def _kind(made: Deployment, version: str, kind: str, name: str, rest: dict[str, Any]) -> Manifest:
    metadata = {"name": name, "namespace": made.namespace, "labels": {"app.kubernetes.io/name": made.name}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}
