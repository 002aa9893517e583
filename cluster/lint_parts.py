"""The parts of cluster files that rules look at, each with the path that leads to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Node = dict[str, Any]

SPECS = {
    "RayCluster": ("spec",),
    "RayJob": ("spec", "rayClusterSpec"),
    "RayService": ("spec", "rayClusterConfig"),
    "RayCronJob": ("spec", "jobTemplate", "rayClusterSpec"),
}
TEMPLATES = {
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(("Job", "Deployment", "StatefulSet"), ("spec", "template")),
}


@dataclass(frozen=True)
class Complaint:
    """What is wrong with a part, where, and the way out."""

    path: str
    fact: str
    way_out: str


@dataclass(frozen=True)
class Container:
    """One container of a pod."""

    path: str
    node: Node
    group: str = ""
    """Of Ray, that it is the first container of: `head`, or the worker group's name; empty: of none."""

    @property
    def image(self) -> str:
        """Its image."""
        return str(self.node.get("image") or "")

    @property
    def limits(self) -> Node:
        """What it may take."""
        return child(self.node, "resources", "limits")

    @property
    def requests(self) -> Node:
        """What it asks for; what is only limited is asked for too."""
        return {**self.limits, **child(self.node, "resources", "requests")}

    @property
    def gpus(self) -> dict[str, Any]:
        """Its GPUs by their resource's name."""
        return {
            name: many for name, many in self.requests.items() if name.endswith("/gpu") and str(many) != "0"
        }

    def variable(self, name: str) -> str | None:
        """The value of a variable; empty where it comes from elsewhere, None where it is not set."""
        for one in items(self.node, "env"):
            if one.get("name") == name:
                return str(one.get("value") or "")
        return None


@dataclass(frozen=True)
class Pod:
    """A pod's template."""

    path: str
    node: Node
    group: str = ""

    @property
    def spec(self) -> Node:
        """Its spec."""
        return child(self.node, "spec")

    @property
    def containers(self) -> list[Container]:
        """Its containers; Ray runs in the first."""
        return [
            Container(f"{self.path}.spec.containers[{number}]", one, "" if number else self.group)
            for number, one in enumerate(items(self.spec, "containers"))
        ]

    @property
    def claims(self) -> list[str]:
        """PersistentVolumeClaims that it mounts."""
        found = (child(one, "persistentVolumeClaim").get("claimName") for one in items(self.spec, "volumes"))
        return [str(claim) for claim in found if claim]


@dataclass(frozen=True)
class Cluster:
    """The spec of a Ray cluster."""

    path: str
    node: Node
    owner: Node
    """The whole document."""

    @property
    def groups(self) -> list[tuple[str, Node]]:
        """The worker groups, each with its path."""
        found = enumerate(items(self.node, "workerGroupSpecs"))
        return [(f"{self.path}.workerGroupSpecs[{number}]", group) for number, group in found]

    @property
    def head(self) -> Pod:
        """The head's template."""
        template = child(self.node, "headGroupSpec", "template")
        return Pod(f"{self.path}.headGroupSpec.template", template, "head")

    @property
    def workers(self) -> list[Pod]:
        """The worker groups' templates."""
        return [
            Pod(f"{path}.template", child(group, "template"), str(group.get("groupName") or "worker"))
            for path, group in self.groups
        ]

    @property
    def pods(self) -> list[Pod]:
        """All templates."""
        return [self.head, *self.workers]


def child(node: Node, *keys: str) -> Node:
    """The mapping under these keys; an empty one where there is none."""
    for key in keys:
        found = node.get(key)
        node = found if isinstance(found, dict) else {}
    return node


def items(node: Node, key: str) -> list[Node]:
    """The mappings of a list."""
    found = node.get(key)
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def clusters(document: Node) -> Iterator[Cluster]:
    """The Ray cluster that a document describes, if it does."""
    keys = SPECS.get(str(document.get("kind")))
    if keys and child(document, *keys):
        yield Cluster(".".join(keys), child(document, *keys), document)


def pods(document: Node) -> Iterator[Pod]:
    """Every pod that a document describes."""
    for cluster in clusters(document):
        yield from cluster.pods
    if keys := TEMPLATES.get(str(document.get("kind"))):
        yield Pod(".".join(keys), child(document, *keys))
    if document.get("kind") == "Pod":
        yield Pod("", document)
