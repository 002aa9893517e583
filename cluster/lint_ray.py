"""Rules for Ray clusters on Kubernetes: versions, groups, the head, autoscaling, what nodes share."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cluster.deployment import ray_of
from cluster.lint_parts import Cluster, Complaint, Pod, child, items
from cluster.quantities import amount

SHM = "/dev/shm"
OBJECTS = 0.3
"""Share of the memory that Ray takes for objects unless it is told otherwise."""


def ray_version(cluster: Cluster) -> Iterator[Complaint]:
    """KubeRay and the autoscaler do what rayVersion says, Ray what the image holds."""
    named = str(cluster.node.get("rayVersion") or "")
    for pod in cluster.pods:
        for container in pod.containers[:1]:
            holds = ray_of(container.image)
            if holds and named and holds != named:
                yield Complaint(
                    f"{container.path}.image",
                    f"{container.image} has Ray {holds}, and rayVersion is {named}",
                    f"Set {cluster.path}.rayVersion to {holds}, or take an image of Ray {named}.",
                )


def one_image(cluster: Cluster) -> Iterator[Complaint]:
    """Ray passes pickled code between nodes: they must hold the same packages."""
    head = next((one.image for one in cluster.head.containers), "")
    for pod in cluster.workers:
        for container in pod.containers[:1]:
            if head and container.image and container.image != head:
                yield Complaint(
                    f"{container.path}.image",
                    f"the head runs {head}, this group {container.image}",
                    "Give all the same image: Ray hands code from one to the other.",
                )


def replicas(cluster: Cluster) -> Iterator[Complaint]:
    """The least, the wanted and the most nodes of a group stand in this order."""
    for path, group in cluster.groups:
        least, most = group.get("minReplicas", 0), group.get("maxReplicas", 2**31 - 1)
        wanted = group.get("replicas", least)
        if not all(isinstance(one, int) for one in (least, wanted, most)):
            continue
        if least > most:
            yield Complaint(
                f"{path}.minReplicas",
                f"minReplicas is {least}, and maxReplicas {most}",
                "Set minReplicas to at most maxReplicas.",
            )
        elif not least <= wanted <= most:
            yield Complaint(
                f"{path}.replicas",
                f"replicas is {wanted}, outside of {least} to {most}",
                "Set it within minReplicas and maxReplicas.",
            )


def head_works(cluster: Cluster) -> Iterator[Complaint]:
    """Who fills the head's memory ends the whole cluster."""
    gpus = any(container.gpus for pod in cluster.workers for container in pod.containers)
    start = child(cluster.node, "headGroupSpec", "rayStartParams")
    if gpus and str(start.get("num-cpus", "")) != "0":
        yield Complaint(
            f"{cluster.path}.headGroupSpec.rayStartParams",
            "the head of a GPU cluster takes work: what fills its memory or its cores ends all nodes",
            'Set num-cpus to "0".',
        )


def head_on_spot(cluster: Cluster) -> Iterator[Complaint]:
    """A head that is taken away takes all with it."""
    asked = {**child(cluster.head.spec, "nodeSelector")}
    tolerated = {
        str(one.get("key")): str(one.get("value")) for one in items(cluster.head.spec, "tolerations")
    }
    for name, value in {**asked, **tolerated}.items():
        if "spot" in f"{name}={value}".lower() or "preemptible" in name.lower():
            yield Complaint(
                f"{cluster.head.path}.spec",
                f"the head goes to nodes that may be taken away ({name})",
                "Take this from the head: with it all nodes end.",
            )


def idle(cluster: Cluster) -> Iterator[Complaint]:
    """Nodes that wait are paid."""
    if cluster.node.get("enableInTreeAutoscaling") is True:
        options = child(cluster.node, "autoscalerOptions")
        if "idleTimeoutSeconds" not in options and not all(
            "idleTimeoutSeconds" in one for _, one in cluster.groups
        ):
            yield Complaint(
                f"{cluster.path}.autoscalerOptions",
                "nothing says after which time an idle node is given back",
                "Set idleTimeoutSeconds, longer than the pause between two stages (300).",
            )


def shared_memory(cluster: Cluster) -> Iterator[Complaint]:
    """A container has 64 MiB of it unless it is told otherwise; Ray's objects take 30 % of the memory."""
    for pod in cluster.workers:
        for container in pod.containers[:1]:
            mounted = {one.get("name") for one in items(container.node, "volumeMounts") if _is_shm(one)}
            found = [
                one for one in items(pod.spec, "volumes") if one.get("name") in mounted and _in_memory(one)
            ]
            memory = amount(container.limits.get("memory")) or 0
            size = amount(child(found[0], "emptyDir").get("sizeLimit", 2**63)) if found else 64 * 2**20
            if not found or (size or 0) < OBJECTS * memory:
                yield Complaint(
                    f"{container.path}.volumeMounts",
                    f"{SHM} holds {(size or 0) / 2**20:.0f} MiB, and Ray's objects take {OBJECTS:.0%} of the "
                    f"memory: they go to the disk, and NCCL may fail",
                    f"Mount an emptyDir with medium Memory and a sizeLimit of 40 % of the memory at {SHM}.",
                )


def _is_shm(mount: dict[str, Any]) -> bool:
    return mount.get("mountPath") == SHM


def _in_memory(volume: dict[str, Any]) -> bool:
    return child(volume, "emptyDir").get("medium") == "Memory"


def token(cluster: Cluster) -> Iterator[Complaint]:
    """Who reaches the dashboard runs code."""
    if child(cluster.node, "authOptions").get("mode") == "token":
        return
    lacking = [pod for pod in cluster.pods if not _wants_token(pod)]
    if lacking:
        yield Complaint(
            f"{cluster.path}.authOptions",
            "Ray asks for no token: whoever reaches port 8265 or 10001 runs code",
            "Set authOptions.mode to token, with secretName.",
        )


def _wants_token(pod: Pod) -> bool:
    return all(one.variable("RAY_AUTH_MODE") == "token" for one in pod.containers[:1])


def shared_volume(cluster: Cluster, everything: list[dict[str, Any]]) -> Iterator[Complaint]:
    """A claim that one machine alone may mount leaves the pods of all others waiting."""
    modes = {
        str(child(one, "metadata").get("name")): child(one, "spec").get("accessModes") or []
        for one in everything
        if one.get("kind") == "PersistentVolumeClaim"
    }
    nodes = 1 + sum(group.get("maxReplicas", 2) for _, group in cluster.groups)
    for pod in cluster.pods if nodes > 1 else []:
        for claim in pod.claims:
            if claim in modes and "ReadWriteMany" not in modes[claim]:
                yield Complaint(
                    f"{pod.path}.spec.volumes",
                    f"{nodes} nodes mount the claim {claim}, which is "
                    f"{', '.join(modes[claim]) or 'of no access mode'}: pods on a second machine wait",
                    "Make it ReadWriteMany, of a StorageClass that can (EFS, Filestore, CephFS, NFS).",
                )


RULES: Mapping[str, Callable[[Cluster], Iterator[Complaint]]] = {
    "ray-version": ray_version,
    "one-image": one_image,
    "replicas": replicas,
    "head-works": head_works,
    "head-on-spot": head_on_spot,
    "idle": idle,
    "shm": shared_memory,
    "token": token,
}
