"""Models of a registry, as MLflow has them: what one takes and gives, and how its files come here."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from pipelines.tracking.mlflow_store import load
from pipelines.tracking.reference import Reference


def signature(modalities: tuple[str, ...]) -> Any:
    """A file or an array for each modality, for which MLflow has no type but `any`; answers are typed."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import AnyType, Map

    inputs: list[Any] = [ColSpec(AnyType(), name) for name in modalities]
    outputs: list[Any] = [
        ColSpec("string", "class", required=False),
        ColSpec("double", "probability", required=False),
        ColSpec(Map("double"), "probabilities", required=False),
        ColSpec("string", "refused", required=False),
        ColSpec("string", "detail", required=False),
    ]
    return ModelSignature(
        inputs=Schema([*inputs, ColSpec("string", "source", required=False)]),
        outputs=Schema(outputs),
        params=ParamSchema([ParamSpec("all", "boolean", False)]),
    )


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A model version whose files are here."""

    name: str
    version: int
    files: Mapping[str, Path]
    """What was logged with it, by the name of the artifact."""


def fetch(uri: str, reference: Reference, folder: Path) -> Fetched:
    """Bring the files of a model version into `folder`.

    Raises:
        UserError: there is no such model, version or alias, or its files are gone.
    """
    import yaml

    mlflow = load()
    client = mlflow.MlflowClient(tracking_uri=uri)
    version = _version(client, uri, reference)
    mlflow.set_tracking_uri(uri)  # What is named below is looked up in no other registry.
    try:
        mlflow.artifacts.download_artifacts(f"models:/{reference.name}/{version}", dst_path=str(folder))
    except (mlflow.exceptions.MlflowException, OSError) as error:
        raise UserError(
            f"The files of {reference.name} version {version} cannot be fetched from {uri}: {error}"
        ) from error
    made = yaml.safe_load((folder / "MLmodel").read_text())
    artifacts = made["flavors"]["python_function"].get("artifacts", {})
    files = {name: folder / one["path"] for name, one in artifacts.items()}
    return Fetched(name=reference.name, version=version, files=files)


def _version(client: Any, uri: str, reference: Reference) -> int:
    from mlflow.exceptions import MlflowException

    try:
        if reference.alias:
            found = client.get_model_version_by_alias(reference.name, reference.alias)
        else:
            found = client.get_model_version(reference.name, str(reference.version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise UserError(f"{uri} does not say what {reference.name} is: {error}") from error
        raise UserError(_absent(client, uri, reference)) from None
    return int(found.version)


def _absent(client: Any, uri: str, reference: Reference) -> str:
    """What there is instead."""
    models = {model.name: model for model in client.search_registered_models()}
    if reference.name not in models:
        near = difflib.get_close_matches(reference.name, models, n=1)
        there = f"Perhaps you meant {near[0]}." if near else f"There is {', '.join(models) or 'none'}."
        return f"{uri} has no registered model {reference.name}. {there}"
    aliases = [f"{name} (version {number})" for name, number in models[reference.name].aliases.items()]
    versions = sorted(int(one.version) for one in client.search_model_versions(f"name = '{reference.name}'"))
    wanted = f"alias {reference.alias}" if reference.alias else f"version {reference.version}"
    return (
        f"{reference.name} has no {wanted} in {uri}. It has the aliases {', '.join(aliases) or '(none)'} and "
        f"the versions {', '.join(map(str, versions)) or '(none)'}."
    )
