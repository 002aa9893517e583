"""A model's making as JSON, so that it can be built again where it is served."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from typing import Any, cast, get_args, get_type_hints

from perceiver.inputs import INPUTS, Spec
from perceiver.model import Perceiver
from perceiver.settings import ModelSettings


def describe(model: Perceiver) -> dict[str, Any]:
    """All that `build` needs besides the weights; survives JSON."""
    specs = {modality: asdict(spec) for modality, spec in model.specs.items()}
    made = {"classes": model.classes, "labels": model.labels}
    return {"settings": asdict(model.settings), "inputs": specs, **made}


def build(description: Mapping[str, Any]) -> Perceiver:
    """A fresh model made like the described one."""
    inputs: dict[str, Spec] = {
        modality: _restored(INPUTS[modality][0], values) for modality, values in description["inputs"].items()
    }
    settings = _restored(ModelSettings, description["settings"])
    return Perceiver(settings, inputs, description["classes"], description["labels"])


def _restored(kind: Any, values: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    known = {field.name: hints[field.name] for field in fields(kind)}
    return kind(**{name: _value(known.get(name), value) for name, value in values.items()})


def _value(hint: Any, value: Any) -> Any:
    if isinstance(value, Mapping):
        kind = next(kind for kind in (hint, *get_args(hint)) if is_dataclass(kind))
        return _restored(kind, cast(Mapping[str, Any], value))
    return tuple(cast(list[Any], value)) if isinstance(value, list) else value
