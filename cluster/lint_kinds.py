"""Rules for single kinds: RayJob, CronJob, ConfigMap."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cluster.lint_parts import Complaint, child, clusters, items
from cluster.lint_pods import PASSWORD_IN_URI, holds_secret

JOBS = {"RayJob": ("spec",), "RayCronJob": ("spec", "jobTemplate")}


def _jobs(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if keys := JOBS.get(str(document.get("kind"))):
        yield ".".join(keys), child(document, *keys)


def delete_workers(document: dict[str, Any]) -> Iterator[Complaint]:
    """The schema lets it pass, the controller does not."""
    for path, job in _jobs(document):
        strategy = child(job, "deletionStrategy")
        whole = [*strategy.values(), *items(strategy, "deletionRules")]
        asked = any(isinstance(one, dict) and one.get("policy") == "DeleteWorkers" for one in whole)
        if asked and child(job, "rayClusterSpec").get("enableInTreeAutoscaling") is True:
            yield Complaint(
                f"{path}.deletionStrategy",
                "DeleteWorkers together with enableInTreeAutoscaling is refused by "
                "KubeRay's controller: the job never begins",
                "Use DeleteCluster, or leave out autoscaling.",
            )


def left_over(document: dict[str, Any]) -> Iterator[Complaint]:
    """A cluster whose job has ended costs as much as before."""
    for path, job in _jobs(document):
        if child(job, "clusterSelector") or child(job, "deletionStrategy"):
            continue
        if job.get("shutdownAfterJobFinishes") is not True:
            yield Complaint(
                f"{path}.shutdownAfterJobFinishes",
                "the cluster stays, and is paid, when the job has ended",
                "Set shutdownAfterJobFinishes to true, with ttlSecondsAfterFinished.",
            )
        elif not job.get("ttlSecondsAfterFinished"):
            yield Complaint(
                f"{path}.ttlSecondsAfterFinished",
                "the cluster is gone, with its logs, the moment the job ends",
                "Set ttlSecondsAfterFinished to the seconds in which somebody may look (3600).",
            )


def nothing_kept(document: dict[str, Any]) -> Iterator[Complaint]:
    """A second attempt is a new cluster."""
    for path, job in _jobs(document):
        claims = [claim for one in clusters(document) for claim in one.head.claims]
        if (job.get("backoffLimit") or 0) > 0 and not claims:
            yield Complaint(
                f"{path}.backoffLimit",
                "each attempt is a new cluster, and the head mounts no claim: the next one begins at step 0",
                "Mount a PersistentVolumeClaim where the workspace is.",
            )


def overlap(document: dict[str, Any]) -> Iterator[Complaint]:
    """A tick must not begin before the last one has ended, nor be made up for all night."""
    if document.get("kind") != "CronJob":
        return
    spec = child(document, "spec")
    policy = spec.get("concurrencyPolicy", "Allow")
    if policy != "Forbid":
        what = (
            "a tick ends the run of the one before"
            if policy == "Replace"
            else "two runs may be at work at once"
        )
        yield Complaint(
            "spec.concurrencyPolicy", f"concurrencyPolicy is {policy}: {what}", "Set it to Forbid."
        )
    for key, fact, way_out in (
        ("startingDeadlineSeconds", "after 100 missed ticks the clock stops for good", "Set it (3600)."),
        ("timeZone", "the time is that of the controller's machine", "Set it, as Europe/Berlin or Etc/UTC."),
    ):
        if key not in spec:
            yield Complaint(f"spec.{key}", f"there is no {key}: {fact}", way_out)


def secret_data(document: dict[str, Any]) -> Iterator[Complaint]:
    """Everybody may read a ConfigMap, and whoever has this file a Secret."""
    kind = document.get("kind")
    if kind == "Secret" and (document.get("data") or document.get("stringData")):
        yield Complaint(
            "data",
            "a Secret's content stands in a file",
            "Make it with `kubectl create secret`; and change it.",
        )
    for key, value in child(document, "data").items() if kind == "ConfigMap" else ():
        if holds_secret(str(key)) or PASSWORD_IN_URI.search(str(value)):
            yield Complaint(
                f"data.{key}", "it holds a secret in clear text", "Put it into a Secret; and change it."
            )


RULES: Mapping[str, Callable[[dict[str, Any]], Iterator[Complaint]]] = {
    "delete-workers": delete_workers,
    "left-over": left_over,
    "nothing-kept": nothing_kept,
    "overlap": overlap,
    "secret": secret_data,
}
