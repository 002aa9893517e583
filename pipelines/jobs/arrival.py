"""The first lines of a job: from where it came, and which versions differ from those there.

Old Pythons must be able to run this file: it says that they are too old.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

LEAST = (3, 11)
RECORD = "submitted.json"
NEEDED = ("mlflow", "numpy", "pyarrow", "ray", "torch", "tyro")
"""Packages without which no run begins."""
WAYS = "take an image that has it, submit with --install, or name another Python of the nodes with --python"


def main() -> int:
    """Say it; status 2 where the job cannot run here."""
    record = json.loads(Path(RECORD).read_text(encoding="utf-8"))
    versions = {name: _version(name) for name in record["packages"]}
    python = ".".join(map(str, sys.version_info[:3]))
    words, refusal = compare(record, python, versions)
    for line in [*words, *([f"error: {refusal}"] if refusal else [])]:
        print(line, file=sys.stderr, flush=True)  # noqa: T201  as `say`, whose file this Python may not know
    return 2 if refusal else 0


def compare(record: dict[str, Any], python: str, versions: dict[str, str]) -> tuple[list[str], str]:
    """What is to be said of this machine, and why the job cannot run on it; empty where it can."""
    words = [f"submit: from {record['submitter']}, code {record['code']}, data {record['data']}"]
    there = {"python": record["python"], **record["packages"]}
    here = {"python": python, **versions}
    missing = [name for name in there if not here[name]]
    differ = [
        f"{name} {here[name]} ({there[name]})"
        for name in there
        if here[name] and _significant(name, here[name]) != _significant(name, there[name])
    ]
    if differ:
        words.append(f"submit: versions that differ (the submitter's): {', '.join(differ)}")
    if missing:
        words.append(
            f"submit: not installed in {sys.executable}: {', '.join(missing)}. If it fails for that, {WAYS}"
        )
    if not differ and not missing:
        words.append("submit: all versions are the submitter's")
    if tuple(map(int, python.split(".")[:2])) < LEAST:
        return words, (
            f"The cluster's Python is {python}; this code needs {'.'.join(map(str, LEAST))}. Use an image "
            f"that has it, or name another Python of the nodes with --python."
        )
    lacking = [name for name in NEEDED if name in missing]
    return words, f"No run begins without {', '.join(lacking)}: {WAYS}." if lacking else ""


def _significant(name: str, version: str) -> str:
    """A build for CPUs or CUDA is the same version; so are Pythons that differ in repairs only."""
    version = version.partition("+")[0]
    return ".".join(version.split(".")[:2]) if name == "python" else version


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
