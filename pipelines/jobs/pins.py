"""Which packages, in which versions, this product stands on in the environment that it runs in."""

import re
from collections.abc import Iterator
from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PRODUCT = "perceiver-pipeline"
CLUSTERS_OWN = ("ray",)
"""Ray is the cluster's: another one beside it could not speak to it."""


def direct() -> dict[str, str]:
    """The version of each package that the product itself names; empty where the product is not installed."""
    return {
        canonicalize_name(one.name): version
        for one in _requirements(PRODUCT, frozenset())
        if (version := _version(one.name))
    }


def requirements() -> tuple[str, ...]:
    """All packages that the product needs, however far behind others, pinned to what is installed here."""
    found: dict[str, str] = {}
    for one in _closure(PRODUCT, frozenset(), set()):
        name = canonicalize_name(one)
        if name not in CLUSTERS_OWN and (version := _version(one)):
            found[name] = f"{name}=={public(version)}"
    return tuple(found[name] for name in sorted(found))


def public(version: str) -> str:
    """The version without the mark of a local build (`+cpu`), which no index has under that name."""
    return version.partition("+")[0]


def _closure(package: str, extras: frozenset[str], seen: set[tuple[str, frozenset[str]]]) -> Iterator[str]:
    for one in _requirements(package, extras):
        need = (canonicalize_name(one.name), frozenset(one.extras))
        if need not in seen:
            seen.add(need)
            yield one.name
            yield from _closure(*need, seen)


def _requirements(package: str, extras: frozenset[str]) -> Iterator[Requirement]:
    """What the package asks for here, with these extras."""
    try:
        texts = metadata.requires(package) or []
    except metadata.PackageNotFoundError:
        return
    for one in map(Requirement, texts):
        if not one.marker or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield one


def _version(package: str) -> str:
    try:
        return metadata.version(re.sub(r"\[.*", "", package))
    except metadata.PackageNotFoundError:
        return ""
