"""What KubeRay's custom resource definitions say of a manifest: its schema, strictly, and its CEL rules.

The definitions are not in the repository; PERCEIVER_CRDS names a folder of them.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

Schema = dict[str, Any]


def faults(manifest: dict[str, Any]) -> list[str]:
    """What the API server would refuse, or drop silently because it does not know it."""
    import jsonschema

    schema = _schema(manifest["kind"].lower())
    refused = jsonschema.Draft202012Validator(_strict(schema)).iter_errors(manifest)
    by_schema = [f"{error.json_path}: {error.message}" for error in refused]
    return by_schema + list(_broken_rules(schema, manifest, "$"))


@cache
def _schema(kind: str) -> Schema:
    folder = os.environ.get("PERCEIVER_CRDS")
    if not folder:
        pytest.skip("PERCEIVER_CRDS is not set: it names the folder of KubeRay's CRDs (ray.io_*.yaml)")
    file = Path(folder, f"ray.io_{kind}s.yaml")
    definition = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    stored = next(version for version in definition["spec"]["versions"] if version["storage"])
    schema: Schema = stored["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"x-kubernetes-preserve-unknown-fields": True}
    return schema


def _strict(node: Any) -> Any:
    """Unknown fields are faults; an amount may be a number or a text."""
    if isinstance(node, list):
        return [_strict(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _strict(value) for key, value in node.items()}
    if "properties" in made and "x-kubernetes-preserve-unknown-fields" not in made:
        made.setdefault("additionalProperties", False)
    return made


def _broken_rules(schema: Schema, value: Any, path: str) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", []):
        if "oldSelf" not in rule["rule"] and not _holds(rule["rule"], value):
            yield f"{path}: {rule.get('message', rule['rule'])}"
    if isinstance(value, dict):
        for key, below in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(inner, dict):
                yield from _broken_rules(inner, below, f"{path}.{key}")
    if isinstance(value, list) and isinstance(schema.get("items"), dict):
        for number, below in enumerate(value):
            yield from _broken_rules(schema["items"], below, f"{path}[{number}]")


def _holds(rule: str, value: Any) -> bool:
    import celpy

    environment = celpy.Environment()
    program = environment.program(environment.compile(rule))
    return bool(program.evaluate({"self": celpy.json_to_cel(value)}))
