"""A deployment for the tests of cluster files."""

from importlib.metadata import version
from typing import Any

from cluster.deployment import Deployment, Gcp, Volume
from cluster.lint import Finding, lint

RAY = version("ray")
RUN_FILE = 'name = "birds"\n[data]\nraw = "raw"\nmodalities = ["image"]\n'


def deployment(**changes: Any) -> Deployment:
    """Eight ranks with a GPU each, four of them where they may be taken away."""
    usual: dict[str, Any] = {
        "name": "birds", "run_file": RUN_FILE, "image": f"registry.example/perceiver:1-ray{RAY}",
        "ray_version": RAY, "fewest": 4, "most": 8, "spot": 4, "gpus": 1, "env_secret": "perceiver-env",
        "options": ("--workspace", "/mnt/perceiver/birds"), "cron": "0 3 * * *", "timezone": "Europe/Berlin",
        "volume": Volume(nfs="files.example:/export"), "gcp": Gcp(project="birds-1"),
    }  # fmt: skip
    return Deployment(**{**usual, **changes})


def put(node: dict[str, Any], *keys: str | int, to: Any) -> None:
    """Set what these keys lead to."""
    *most, last = keys
    for key in most:
        node = node[key]  # type: ignore[index]
    node[last] = to  # type: ignore[index]


def found(*documents: dict[str, Any]) -> list[Finding]:
    """What the linter says of a file with these documents."""
    return lint([("file.yaml", document) for document in documents])
