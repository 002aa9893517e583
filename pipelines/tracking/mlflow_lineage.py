"""Where a model version came from, as far as MLflow knows: its version, its run, and the run's files."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cluster.mistake import UserError
from pipelines.tracking.mlflow_store import load

GONE = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, kw_only=True)
class Run:
    """The run that a version came from."""

    id: str
    experiment: str
    """By id."""
    name: str
    status: str
    params: Mapping[str, str]
    """The settings, under their dotted names."""
    place: str
    """Where the shards lay."""
    files: Mapping[str, str]
    """The run file, by its name."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a registered model."""

    model: str
    version: int
    aliases: tuple[str, ...]
    tags: Mapping[str, str]
    created: int
    """Milliseconds since 1970."""
    run_id: str


def version(uri: str, model: str, number: int = 0, alias: str = "") -> Version:
    """One version, by its number or by an alias.

    Raises:
        UserError: there is none.
    """
    from mlflow.exceptions import MlflowException

    client = _client(uri)
    try:
        known = client.get_registered_model(model)
        if alias and alias not in known.aliases:
            there = ", ".join(sorted(known.aliases)) or "none"
            raise UserError(f"{model} has no alias {alias} in {uri}. Its aliases: {there}.")
        number = number or int(known.aliases[alias])
        return _version(client.get_model_version(model, str(number)), known)
    except MlflowException as error:
        if error.error_code != GONE:
            raise
        raise UserError(
            f"{uri} holds no {model}{f' version {number}' if number else ''}. {_there(client)}"
        ) from None


def versions(uri: str) -> Iterator[Version]:
    """All versions of all models that this product registered, the newest of each model first."""
    client = _client(uri)
    for model in _pages(client.search_registered_models):
        found = list(_pages(lambda **page: client.search_model_versions(f"name = '{model.name}'", **page)))  # noqa: B023  (used up at once)
        for one in sorted(found, key=lambda one: -int(one.version)):
            if "shards" in one.tags:
                yield _version(one, model)


def run(uri: str, run_id: str) -> Run | None:
    """The run of a version; None where it was deleted for good."""
    from mlflow.exceptions import MlflowException

    client = _client(uri)
    try:
        found = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code not in (GONE, "INVALID_PARAMETER_VALUE"):
            raise
        return None
    info = found.info
    return Run(
        id=run_id, experiment=info.experiment_id, name=info.run_name or "", params=found.data.params,
        status=info.status if info.lifecycle_stage == "active" else "DELETED", place=_place(found),
        files=dict(_run_files(client, run_id)),
    )  # fmt: skip


def _place(found: Any) -> str:
    for one in found.inputs.dataset_inputs:
        with suppress(ValueError, KeyError, TypeError):
            return json.loads(one.dataset.source)["uri"]
    return ""


def _run_files(client: Any, run_id: str) -> Iterator[tuple[str, str]]:
    """The TOML files beside the run's pictures; none where the place of its files is gone."""
    from mlflow.exceptions import MlflowException

    with TemporaryDirectory() as scratch, suppress(MlflowException, OSError):
        for file in client.list_artifacts(run_id):
            if file.path.endswith(".toml"):
                yield file.path, Path(client.download_artifacts(run_id, file.path, scratch)).read_text()


def _version(found: Any, model: Any) -> Version:
    number = int(found.version)
    return Version(
        model=model.name, version=number, tags=dict(found.tags), created=int(found.creation_timestamp),
        aliases=tuple(sorted(name for name, of in model.aliases.items() if int(of) == number)),
        run_id=found.run_id or "",
    )  # fmt: skip


def _there(client: Any) -> str:
    names = sorted(one.name for one in _pages(client.search_registered_models))
    return f"Its models: {', '.join(names[:10]) or 'none'}."


def _pages(search: Any) -> Iterator[Any]:
    """All answers of a search that gives them by the page."""
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _client(uri: str) -> Any:
    return load().MlflowClient(tracking_uri=uri)
