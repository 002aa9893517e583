"""Rules for every pod: what it asks for, which image it runs, what it tells, how long it may take to end."""

import re
from collections.abc import Callable, Iterator, Mapping

from cluster.deployment import tag_of
from cluster.lint_parts import Complaint, Pod, child, items
from cluster.quantities import amount

DRAIN = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
DEFAULT_SECONDS = 30
"""Both of Ray's drain and of Kubernetes' grace period."""
SECRET_NAME = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PRIVATE_KEY|API_?KEY|ACCESS_KEY", re.IGNORECASE
)
NO_SECRET = re.compile(r"_(PATH|FILE|MODE|NAME|DIR)$", re.IGNORECASE)
PASSWORD_IN_URI = re.compile(r"://[^/@\s:]*:[^/@\s]+@")


def grace(pod: Pod) -> Iterator[Complaint]:
    """Ray's drain must end before Kubernetes kills what is left."""
    for container in pod.containers[:1] if pod.group else []:
        drain = amount(container.variable(DRAIN) or DEFAULT_SECONDS)
        left = amount(pod.spec.get("terminationGracePeriodSeconds", DEFAULT_SECONDS))
        if drain is None or left is None:
            continue
        path = f"{pod.path}.spec.terminationGracePeriodSeconds"
        if drain <= 0:
            yield Complaint(
                path,
                f"{DRAIN} is {drain:g}: a node that is to end tells nobody, so no checkpoint is taken",
                "Set it to longer than a checkpoint takes, and the grace period longer still.",
            )
        elif left <= drain:
            yield Complaint(
                path,
                f"the pod is killed after {left:g} s, and Ray drains for {drain:g} s ({DRAIN}): a "
                f"checkpoint that is being written may be cut off",
                f"Set terminationGracePeriodSeconds to {drain + DEFAULT_SECONDS:g} or more.",
            )


def gpu_limit(pod: Pod) -> Iterator[Complaint]:
    """GPUs are lent by limits alone."""
    for container in pod.containers:
        for name, many in container.gpus.items():
            limit = container.limits.get(name)
            if str(limit) != str(many):
                yield Complaint(
                    f"{container.path}.resources",
                    f"{name} is {many} in requests and {limit or 'nothing'} in limits",
                    f"Set limits.{name} to {many}: Kubernetes lends GPUs by limits, and both must be equal.",
                )


def memory(pod: Pod) -> Iterator[Complaint]:
    """What Ray counts on must be what was asked for."""
    for container in pod.containers if pod.group else []:
        limit, asked = container.limits.get("memory"), container.requests.get("memory")
        path = f"{container.path}.resources"
        if limit is None:
            yield Complaint(
                path,
                "there is no memory limit, so Ray takes the whole machine's memory for its own",
                "Set limits.memory and requests.memory to the same amount.",
            )
        elif amount(limit) != amount(asked):
            yield Complaint(
                path,
                f"the memory limit is {limit}, and {asked} is requested: Ray counts on the limit, and the "
                f"pod is evicted first when the machine runs short",
                "Set both to the same amount.",
            )


def image(pod: Pod) -> Iterator[Complaint]:
    """An image that moves gives nodes that differ."""
    for container in pod.containers:
        tag = tag_of(container.image)
        if container.image and tag in ("", "latest"):
            yield Complaint(
                f"{container.path}.image",
                f"{container.image} has {f'the tag {tag}' if tag else 'no tag'}: a "
                f"node that comes later may run other code",
                "Name a tag that is never given again, or a digest.",
            )


def secret(pod: Pod) -> Iterator[Complaint]:
    """Secrets are referred to, never written. The finding does not repeat them."""
    for container in pod.containers:
        for number, one in enumerate(items(container.node, "env")):
            name, value = str(one.get("name")), str(one.get("value") or "")
            if value and (holds_secret(name) or PASSWORD_IN_URI.search(value)):
                yield Complaint(
                    f"{container.path}.env[{number}].value",
                    f"{name} stands here in clear text",
                    "Put it into a Secret, refer to it by valueFrom.secretKeyRef or envFrom, and change it.",
                )
        for key in ("command", "args"):
            for number, word in enumerate(container.node.get(key) or []):
                if PASSWORD_IN_URI.search(str(word)):
                    yield Complaint(
                        f"{container.path}.{key}[{number}]",
                        "a URI holds a password",
                        "Leave it out, and give it as a variable from a Secret; and change it.",
                    )


def root(pod: Pod) -> Iterator[Complaint]:
    """Code of anybody who may submit runs there."""
    for container in pod.containers:
        security = {**child(pod.spec, "securityContext"), **child(container.node, "securityContext")}
        if security.get("runAsNonRoot") is not True:
            yield Complaint(
                f"{container.path}.securityContext",
                "it may run as root",
                "Set securityContext.runAsNonRoot to true, with a runAsUser that the image knows.",
            )


def holds_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret, as a rule."""
    return bool(SECRET_NAME.search(name)) and not NO_SECRET.search(name)


RULES: Mapping[str, Callable[[Pod], Iterator[Complaint]]] = {
    "grace": grace,
    "gpu-limit": gpu_limit,
    "memory": memory,
    "image": image,
    "secret": secret,
    "root": root,
}
