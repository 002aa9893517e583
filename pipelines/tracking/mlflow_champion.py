"""The champion of a registered model: the version that an alias points to, how it got there, and its weights.

Each move of the alias is a tag of the registered model, `<alias>.<number>`, with JSON: version, replaced,
how, time, who, why. A move is a compare-and-set as far as MLflow lets it be one: read and written by two
requests with nothing between them. Whoever moves the alias between those two is overwritten, which a lease
excludes within a workspace; between workspaces it is a window of one request's time.
"""

import getpass
import json
import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from cluster.mistake import UserError
from pipelines.tracking.mlflow_registry import patient
from pipelines.tracking.mlflow_store import load

How = Literal["promoted", "forced", "rolled back"]
GONE = "RESOURCE_DOES_NOT_EXIST"


@dataclass(frozen=True, kw_only=True)
class Move:
    """One move of the alias."""

    number: int
    """Counts them, from 1."""
    version: int
    """Where it points since."""
    replaced: int
    """Where it pointed before; 0: nowhere."""
    how: How
    time: str
    """UTC."""
    who: str
    """User and machine."""
    why: str


@dataclass(frozen=True)
class Champions:
    """All that an alias of one registered model pointed to."""

    uri: str
    """The store that the registry is part of."""
    model: str
    alias: str

    def now(self) -> int:
        """The version that the alias points to; 0 where it points nowhere."""
        found = self._model()
        return int(found.aliases.get(self.alias, 0)) if found else 0

    def moves(self) -> tuple[Move, ...]:
        """From the first to the last; none that was made in MLflow's own UI."""
        found, moves = self._model(), list[Move]()
        for name, value in (found.tags if found else {}).items():
            alias, _, number = name.rpartition(".")
            if alias == self.alias and number.isdigit():
                moves.append(Move(number=int(number), **json.loads(value)))
        return tuple(sorted(moves, key=lambda move: move.number))

    def move(self, version: int, *, expected: int, how: How, why: str, check: Callable[[], None]) -> bool:
        """Let the alias point to this version if it points to the `expected` one; whether it did.

        `check` is called right before, and raises where the alias may not be moved any more.
        """
        check()
        if self.now() != expected:
            return False
        self._client().set_registered_model_alias(self.model, self.alias, str(version))
        self.note(version, replaced=expected, how=how, why=why)
        return True

    def note(self, version: int, *, replaced: int, how: How, why: str) -> None:
        """Keep that the alias was moved."""
        number = max((move.number for move in self.moves()), default=0) + 1
        facts = Move(
            number=number, version=version, replaced=replaced, how=how, why=why[:4000], who=_who(),
            time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        )  # fmt: skip
        text = json.dumps({name: value for name, value in asdict(facts).items() if name != "number"})
        self._client().set_registered_model_tag(self.model, f"{self.alias}.{number}", text)

    def tags(self, version: int) -> dict[str, str]:
        """The tags of a version.

        Raises:
            UserError: there is no such version.
        """
        return dict(self.version(version).tags)

    def version(self, version: int) -> Any:
        """What MLflow knows of a version.

        Raises:
            UserError: there is no such version.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self._client().get_model_version(self.model, str(version))
        except MlflowException as error:
            if error.error_code != GONE:
                raise
            fact = f"{self.uri} holds no version {version} of {self.model}."
            raise UserError(f"{fact} {self._known()}") from None

    def set_tags(self, version: int, tags: dict[str, str]) -> None:
        """Give a version these tags; other tags stay."""
        client = self._client()
        for name, value in tags.items():
            client.set_model_version_tag(self.model, str(version), name, value[:5000])

    def artifacts(self, version: int, folder: Path) -> Path:
        """A copy of a version's weights and description in `folder`, which holds nothing else then.

        Raises:
            OSError: they do not come.
        """
        from mlflow.exceptions import MlflowException

        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        mlflow = load()
        mlflow.set_tracking_uri(self.uri)
        with patient():
            uri = f"models:/{self.model}/{version}/artifacts"
            try:
                return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))
            except MlflowException as error:
                raise OSError(" ".join(str(error).split())[:300]) from error

    def _known(self) -> str:
        found = self._client().search_model_versions(f"name = '{self.model}'")
        numbers = sorted(int(one.version) for one in found)
        known = ", ".join(map(str, numbers[-10:])) or "no version"
        return f"It holds {known} of it."

    def _model(self) -> Any:
        """The registered model, or None where there is none of this name."""
        from mlflow.exceptions import MlflowException

        try:
            return self._client().get_registered_model(self.model)
        except MlflowException as error:
            if error.error_code != GONE:
                raise
            return None

    def _client(self) -> Any:
        return load().MlflowClient(tracking_uri=self.uri)


def before(moves: tuple[Move, ...], version: int) -> int:
    """The champion that a rollback from `version` goes to; 0 where there was none.

    A version that was rolled back from is out of the line for good.
    """
    line = list[int]()
    for move in moves:
        if move.how == "rolled back" and move.version in line:
            del line[line.index(move.version) + 1 :]
        else:
            if move.replaced and move.replaced not in line:
                line.append(move.replaced)  # one that was made champion in MLflow's UI
            line = [*(one for one in line if one != move.version), move.version]
    if version in line:
        del line[line.index(version) :]
    return line[-1] if line else 0


def _who() -> str:
    user = "unknown"
    with suppress(OSError, KeyError):  # a container may know no name for its user
        user = getpass.getuser()
    return f"{user}@{os.uname().nodename}"
