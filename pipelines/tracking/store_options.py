"""Which tracking store is meant by a command that takes no run file."""

import os
from dataclasses import dataclass
from pathlib import Path

from cluster.mistake import UserError
from pipelines.tracking.reach import check, is_server

BESIDE = "work/mlflow.db"
"""The store of a run in the usual workspace."""


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    uri: str = ""
    """MLflow tracking store; empty: MLFLOW_TRACKING_URI, else work/mlflow.db."""


def store_of(options: StoreOptions) -> str:
    """The store that is meant.

    Raises:
        UserError: none is named, or it is not there; a database that is not there would be made.
    """
    uri = options.uri or os.environ.get("MLFLOW_TRACKING_URI", "")
    if not uri and Path(BESIDE).exists():
        uri = f"sqlite:///{Path(BESIDE).absolute()}"
    if not uri:
        raise UserError(
            f"Which registry? Name its store: --tracking.uri http://HOST:PORT or sqlite:////PATH/mlflow.db, "
            f"or set MLFLOW_TRACKING_URI. There is no {BESIDE} here either."
        )
    check(uri)
    path = Path(uri.removeprefix("sqlite:///"))
    if not is_server(uri) and uri.startswith("sqlite:///") and not path.exists():
        raise UserError(f"There is no database {path}. Name the store of the run: --tracking.uri URI.")
    return uri
