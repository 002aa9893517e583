"""Rules for the files of `ray up`: money, the head, secrets, who may reach it."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from cluster.deployment import tag_of
from cluster.lint_parts import Complaint, child, items
from cluster.lint_pods import PASSWORD_IN_URI, holds_secret

COMMANDS = (
    "initialization_commands",
    "setup_commands",
    "head_setup_commands",
    "worker_setup_commands",
    "head_start_ray_commands",
    "worker_start_ray_commands",
)
GPU_MACHINES = re.compile(r"(p\d|g\d+|a2-|a3-|g2-|a4-)", re.IGNORECASE)


def _types(file: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = child(file, "available_node_types")
    return {name: node for name, node in found.items() if isinstance(node, dict)}


def _spot(node: dict[str, Any]) -> bool:
    config = child(node, "node_config")
    lent = child(config, "InstanceMarketOptions").get("MarketType") == "spot"
    return lent or any(
        one.get("preemptible") or one.get("provisioningModel") == "SPOT"
        for one in items(config, "scheduling")
    )


def _gpu(node: dict[str, Any]) -> bool:
    config = child(node, "node_config")
    machine = str(config.get("InstanceType") or config.get("machineType") or "")
    return bool(
        child(node, "resources").get("GPU") or config.get("guestAccelerators") or GPU_MACHINES.match(machine)
    )


def idle(file: dict[str, Any]) -> Iterator[Complaint]:
    """Nodes that wait are paid."""
    if "idle_timeout_minutes" not in file:
        yield Complaint(
            "idle_timeout_minutes",
            "nothing says after which time an idle machine is given back",
            "Set it, longer than the pause between two stages (5).",
        )


def replicas(file: dict[str, Any]) -> Iterator[Complaint]:
    """The numbers must allow each other."""
    types, most = _types(file), file.get("max_workers", 0)
    for name, node in types.items():
        least, limit = node.get("min_workers", 0), node.get("max_workers", most)
        if least > limit:
            yield Complaint(
                f"available_node_types.{name}.min_workers",
                f"min_workers is {least}, and max_workers {limit}",
                "Set min_workers to at most max_workers.",
            )
    asked = sum(
        node.get("max_workers", 0) for name, node in types.items() if name != file.get("head_node_type")
    )
    if asked > most:
        yield Complaint(
            "max_workers",
            f"the node types may have {asked} machines together, and max_workers is {most}",
            f"Set max_workers to {asked}: machines above it are never begun.",
        )


def head_works(file: dict[str, Any]) -> Iterator[Complaint]:
    """Who fills the head's memory ends the whole cluster."""
    head = str(file.get("head_node_type"))
    gpus = any(_gpu(node) for name, node in _types(file).items() if name != head)
    if gpus and "--num-cpus=0" not in " ".join(map(str, file.get("head_start_ray_commands") or [])):
        yield Complaint(
            "head_start_ray_commands",
            "the head of a GPU cluster takes work: what fills its memory ends all",
            "Start it with --num-cpus=0.",
        )


def head_on_spot(file: dict[str, Any]) -> Iterator[Complaint]:
    """A head that is taken away takes all with it; a spot machine cannot be stopped and kept."""
    head = str(file.get("head_node_type"))
    if _spot(_types(file).get(head, {})):
        yield Complaint(
            f"available_node_types.{head}.node_config",
            "the head may be taken away, and all nodes with it",
            "Take a machine on demand.",
        )
    provider = child(file, "provider")
    if (
        provider.get("type") == "aws"
        and provider.get("cache_stopped_nodes", True)
        and any(map(_spot, _types(file).values()))
    ):
        yield Complaint(
            "provider.cache_stopped_nodes",
            "Amazon does not stop spot machines, so none is ever given back",
            "Set it to false.",
        )


def image(file: dict[str, Any]) -> Iterator[Complaint]:
    """An image that moves gives nodes that differ."""
    for key in ("image", "head_image", "worker_image"):
        named = str(child(file, "docker").get(key) or "")
        tag = tag_of(named)
        if named and tag in ("", "latest"):
            yield Complaint(
                f"docker.{key}",
                f"{named} has {f'the tag {tag}' if tag else 'no tag'}: a node that comes later may "
                f"run other code",
                "Name a tag that is never given again, or a digest.",
            )


def secret(file: dict[str, Any]) -> Iterator[Complaint]:
    """Secrets are referred to, never written. The finding does not repeat them."""
    places = {
        f"docker.{key}": child(file, "docker").get(key)
        for key in ("run_options", "head_run_options", "worker_run_options")
    }
    places |= {key: file.get(key) for key in COMMANDS}
    for place, lines in places.items():
        for number, line in enumerate(lines or []):
            given = re.findall(r"\b(\w+)=([^\s$]\S*)", str(line))
            if any(holds_secret(name) for name, _ in given) or PASSWORD_IN_URI.search(str(line)):
                yield Complaint(
                    f"{place}[{number}]",
                    "a secret stands here in clear text",
                    "Give it by a role (IAM), or a file of file_mounts; and change it.",
                )


def token(file: dict[str, Any]) -> Iterator[Complaint]:
    """Who reaches the dashboard runs code."""
    start = " ".join(map(str, file.get("head_start_ray_commands") or []))
    whole = start + " ".join(map(str, child(file, "docker").get("run_options") or []))
    if "RAY_AUTH_MODE=token" not in whole:
        yield Complaint(
            "docker.run_options",
            "Ray asks for no token: whoever reaches port 8265 or 6379 runs code",
            "Add -e RAY_AUTH_MODE=token, and mount ~/.ray/auth_token with file_mounts.",
        )


RULES: Mapping[str, Callable[[dict[str, Any]], Iterator[Complaint]]] = {
    "idle": idle,
    "replicas": replicas,
    "head-works": head_works,
    "head-on-spot": head_on_spot,
    "image": image,
    "secret": secret,
    "token": token,
}
