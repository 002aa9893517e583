"""How many workers the cluster's nodes have room for."""

from collections.abc import Iterable, Mapping
from contextlib import suppress

from cluster.mistake import UserError
from cluster.settings import ClusterSettings

Resources = Mapping[str, float]
"""Of a node or a worker, by kind: CPU, GPU."""


def per_worker(cluster: ClusterSettings) -> dict[str, float]:
    """What each worker takes of its node: the CPUs that were asked for, or as many as leave room for all.

    Where the cluster adds nodes that are asked for, there may be none yet.

    Raises:
        UserError: the cluster has too little room.
    """
    if cluster.autoscales:
        return _wanted(cluster, cluster.cpus_per_worker)
    nodes = alive()
    largest = max([1, *(int(node.get("CPU", 0)) for node in nodes)])
    wanted: dict[str, float] = {}
    for workers in dict.fromkeys((cluster.most, cluster.fewest)):
        for cpus in [cluster.cpus_per_worker] if cluster.cpus_per_worker else range(largest, 0, -1):
            wanted = _wanted(cluster, cpus)
            if room(nodes, wanted) >= workers:
                return wanted
    raise UserError(
        f"{too_many(cluster.fewest, nodes, wanted)}. "
        f"Lower cluster.workers, cluster.cpus-per-worker or cluster.gpus-per-worker, or, where the cluster "
        f"adds nodes that are asked for, set cluster.autoscales."
    )


def _wanted(cluster: ClusterSettings, cpus: int) -> dict[str, float]:
    return {"CPU": cpus, **({"GPU": cluster.gpus_per_worker} if cluster.gpus_per_worker else {})}


def lack(cluster: ClusterSettings, wanted: Resources) -> str:
    """What the cluster lacks at the moment, in words; nothing where there is room."""
    with suppress(Exception):  # a cluster that does not answer a question is not the training's end
        nodes = alive()
        if room(nodes, wanted) < cluster.fewest:
            return too_many(cluster.fewest, nodes, wanted)
    return ""


def alive() -> list[Resources]:
    """What each node has that is there."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def room(nodes: Iterable[Resources], wanted: Resources) -> int:
    """How many workers fit."""
    return sum(min(int(node.get(kind, 0) // each) for kind, each in wanted.items()) for node in nodes)


def too_many(workers: int, nodes: Iterable[Resources], wanted: Resources) -> str:
    """That so many workers do not fit."""
    kinds = " and ".join(f"{each:g} {kind}" for kind, each in wanted.items())
    there = "; ".join(f"{node.get('CPU', 0):g} CPU, {node.get('GPU', 0):g} GPU" for node in nodes)
    return f"{workers} workers with {kinds} each do not fit the cluster's nodes ({there})"
