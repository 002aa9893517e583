"""The pods of a Ray cluster on Kubernetes: what they ask for, mount, and how long they may take to end."""

from typing import Any

from cluster.deployment import Deployment

Manifest = dict[str, Any]

RUN_FOLDER = "/etc/perceiver"
RUN_FILE = "run.toml"
UID = 1000
"""The user of the image, see cluster/Dockerfile."""
GPU = "nvidia.com/gpu"


def head(made: Deployment) -> Manifest:
    """The head never works, is never on a machine that may be taken away, and is never moved."""
    container = _container(made, "ray-head", cpus=2, memory_gib=8, gpus=0)
    container["ports"] = [
        {"name": name, "containerPort": port}
        for name, port in (("gcs", 6379), ("dashboard", 8265), ("client", 10001), ("metrics", 8080))
    ]
    return {
        "metadata": {"annotations": _unmoved()},
        # The autoscaler beside the head asks Kubernetes for pods, so the head has a token of its own.
        "spec": {**_spec(made, container), "affinity": _not_on(made.spot_nodes)},
    }


def worker(made: Deployment, *, spot: bool) -> Manifest:
    """A node of ranks."""
    many = made.ranks_per_node
    container = _container(
        made, "ray-worker", cpus=many * made.cpus, memory_gib=many * made.memory_gib, gpus=many * made.gpus
    )
    container["ports"] = [{"name": "metrics", "containerPort": 8080}]
    spec = {**_spec(made, container), "automountServiceAccountToken": False}
    tolerations: list[Manifest] = []
    if made.gpus:
        tolerations.append({"key": GPU, "operator": "Exists", "effect": "NoSchedule"})
    if spot:
        key, value = label(made.spot_nodes)
        tolerations.append({"key": key, "operator": "Equal", "value": value, "effect": "NoSchedule"})
        spec["nodeSelector"] = {key: value}
    else:
        spec["affinity"] = _not_on(made.spot_nodes)
    if tolerations:
        spec["tolerations"] = tolerations
    return {"metadata": {"annotations": {} if spot else _unmoved()}, "spec": spec}


def submitter(made: Deployment, command: list[str]) -> Manifest:
    """A pod that sends a run to the cluster and follows it; the work itself is not done here."""
    amount = {"cpu": "500m", "memory": "2Gi"}
    token = {"secretKeyRef": {"name": made.token_secret, "key": "auth_token"}}
    container = {
        "name": "submit",
        "image": made.image,
        "command": command,
        "workingDir": made.volume.path,
        "env": [
            {"name": "RAY_AUTH_MODE", "value": "token"},
            {"name": "RAY_AUTH_TOKEN", "valueFrom": token},
            {"name": "MLFLOW_DISABLE_TELEMETRY", "value": "true"},
        ],
        **_secrets(made),
        "resources": {"requests": amount, "limits": amount},
        "volumeMounts": _mounts(made)[1:],
        "securityContext": _restricted(),
    }
    volumes = _volumes(made, shm_mib=0)[1:]
    return {
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": _user(),
            "containers": [container],
            "volumes": volumes,
        }
    }


def label(text: str) -> tuple[str, str]:
    """`key=value` of a node."""
    key, _, value = text.partition("=")
    return key, value


def _spec(made: Deployment, container: Manifest) -> Manifest:
    memory = int(container["resources"]["limits"]["memory"].removesuffix("Gi"))
    return {
        "terminationGracePeriodSeconds": made.grace_seconds,
        "securityContext": _user(),
        "containers": [container],
        # Ray keeps objects there, 30 % of the memory; were it smaller, they would go to the disk. Only what
        # is written counts against the memory limit.
        "volumes": _volumes(made, shm_mib=memory * 1024 * 2 // 5),
    }


def _container(made: Deployment, name: str, *, cpus: int, memory_gib: int, gpus: int) -> Manifest:
    amount: Manifest = {"cpu": str(cpus), "memory": f"{memory_gib}Gi"}
    if gpus:
        amount[GPU] = str(gpus)
    return {
        "name": name,
        "image": made.image,
        "workingDir": made.volume.path,
        "env": [{"name": key, "value": value} for key, value in made.environment.items()],
        **_secrets(made),
        # The same twice: Ray counts on the limit, and who uses more than was requested is evicted first.
        "resources": {"requests": amount, "limits": dict(amount)},
        "volumeMounts": _mounts(made),
        "securityContext": _restricted(),
    }


def _secrets(made: Deployment) -> Manifest:
    return {"envFrom": [{"secretRef": {"name": made.env_secret}}]} if made.env_secret else {}


def _mounts(made: Deployment) -> list[Manifest]:
    return [
        {"name": "shm", "mountPath": "/dev/shm"},
        {"name": "workspace", "mountPath": made.volume.path},
        {"name": "run-file", "mountPath": RUN_FOLDER, "readOnly": True},
    ]


def _volumes(made: Deployment, *, shm_mib: int) -> list[Manifest]:
    return [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": f"{shm_mib}Mi"}},
        {"name": "workspace", "persistentVolumeClaim": {"claimName": made.volume.claim}},
        {"name": "run-file", "configMap": {"name": f"{made.name}-run"}},
    ]


def _user() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": UID,
        "runAsGroup": UID,
        "fsGroup": UID,
        "fsGroupChangePolicy": "OnRootMismatch",  # else each start walks over all files of the volume
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _restricted() -> Manifest:
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def _unmoved() -> Manifest:
    return {
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
        "karpenter.sh/do-not-disrupt": "true",
    }


def _not_on(nodes: str) -> Manifest:
    """A node without the label matches too."""
    key, value = label(nodes)
    term = {"matchExpressions": [{"key": key, "operator": "NotIn", "values": [value]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
