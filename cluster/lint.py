"""What is wrong in cluster files though their schemas let it pass: it costs money, a checkpoint or a night.

A rule is a function from a part of a document to its complaints; the rooms of rules are `lint_pods`,
`lint_ray`, `lint_kinds` and `lint_launchers`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from cluster import lint_kinds, lint_launchers, lint_pods, lint_ray
from cluster.lint_parts import Cluster, Complaint, clusters, pods


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    file: str
    path: str
    """Where in the file: kind/name and the keys."""
    rule: str
    fact: str
    way_out: str


def lint(documents: Iterable[tuple[str, Any]]) -> list[Finding]:
    """Everything that is wrong in these documents, each given with its file's name; order as in the files."""
    known = list(documents)
    everything = [document for _, document in known if isinstance(document, dict)]
    return [
        Finding(file, f"{_name(document)} {complaint.path}", rule, complaint.fact, complaint.way_out)
        for file, document in known
        for rule, complaint in _complaints(document, everything)
    ]


def _complaints(document: Any, everything: list[dict[str, Any]]) -> Iterator[tuple[str, Complaint]]:
    if not isinstance(document, dict):
        yield "yaml", Complaint("", "this is no mapping", "Give a Kubernetes object or a file for `ray up`.")
        return
    if "cluster_name" in document:
        for rule, check in lint_launchers.RULES.items():
            yield from ((rule, one) for one in check(document))
        return
    if "kind" not in document:
        yield "yaml", Complaint("", "it has no kind", "Give a Kubernetes object or a file for `ray up`.")
        return
    for rule, check in lint_kinds.RULES.items():
        yield from ((rule, one) for one in check(document))
    for pod in pods(document):
        for rule, check in lint_pods.RULES.items():
            yield from ((rule, one) for one in check(pod))
    for cluster in clusters(document):
        yield from _of_cluster(cluster, everything)


def _of_cluster(cluster: Cluster, everything: list[dict[str, Any]]) -> Iterator[tuple[str, Complaint]]:
    for rule, check in lint_ray.RULES.items():
        yield from ((rule, one) for one in check(cluster))
    yield from (("volume", one) for one in lint_ray.shared_volume(cluster, everything))


def _name(document: Any) -> str:
    if not isinstance(document, dict):
        return "?"
    if "cluster_name" in document:
        return f"ray up/{document['cluster_name']}"
    return f"{document.get('kind', '?')}/{(document.get('metadata') or {}).get('name', '?')}"
