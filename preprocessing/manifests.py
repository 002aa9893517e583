"""All manifests of a place, whichever version is asked for."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cluster.storage import Store
from preprocessing.shards import FORMAT, MANIFEST, VERSIONS, seal

Manifest = Mapping[str, Any]


def manifests(home: Store) -> Iterator[Manifest]:
    """Those that are whole, the newest first, then the earlier ones by name."""
    earlier = sorted(one.name for one in home.list(f"{VERSIONS}/") if one.name.endswith(".json"))
    for name in (MANIFEST, *earlier):
        manifest = _parsed(home, name)
        if manifest is not None and _sealed(manifest):
            yield manifest


def is_broken(home: Store, name: str) -> bool:
    """Whether a manifest of this format is there and says nothing that can be relied on."""
    if home.size(name) < 0:
        return False
    manifest = _parsed(home, name)
    return manifest is None or (manifest.get("format") == FORMAT and not _sealed(manifest))


def names(manifest: Manifest) -> set[str]:
    """The shards and tables that a manifest names."""
    generations = manifest["generations"]
    tars = {tar["name"] for one in generations for tar in one["shards"]}
    return tars | {one["index"]["name"] for one in generations} | {manifest["quarantine"]["name"]}


def removed(manifest: Manifest) -> dict[str, int]:
    """The shards that a manifest names, and how many samples of each are no longer in the index."""
    return {tar["name"]: tar["removed"] for one in manifest["generations"] for tar in one["shards"]}


def _parsed(home: Store, name: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(home.read(name)))
    except (OSError, ValueError, TypeError):
        return None


def _sealed(manifest: dict[str, Any]) -> bool:
    return manifest.get("format") == FORMAT and manifest.get("digest") == seal(manifest)
