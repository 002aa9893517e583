"""Whether the tracking store can be reached, found out in seconds and without MLflow, and links to it."""

import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.client import HTTPException
from urllib.parse import quote, urlparse

from cluster.mistake import AwayError, UserError

REACH_SECONDS = 2.0
TRAINING = "workflowType=machine_learning"
SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")


def is_server(uri: str) -> bool:
    """Whether the store is a tracking server, and no database."""
    return urlparse(uri).scheme in ("http", "https")


def away(uri: str) -> str:
    """Why the tracking server does not answer; empty where it does, or where the store is a database."""
    if not is_server(uri):
        return ""
    try:
        urllib.request.urlopen(f"{uri.rstrip('/')}/health", timeout=REACH_SECONDS).close()
    except urllib.error.HTTPError:
        return ""  # something answers; credentials and proxies are MLflow's to judge
    except (OSError, ValueError, HTTPException) as error:
        return f"No tracking server answers at {uri} ({getattr(error, 'reason', error)})."
    return ""


def check(uri: str, another: str = "") -> None:
    """Refuse a tracking store that cannot be reached; `another` is one more way out.

    Raises:
        AwayError: the server does not answer.
        UserError: `uri` is no tracking store's.
    """
    if not is_server(uri):
        refuse_scheme(uri)
    if fact := away(uri):
        raise AwayError(
            f"{fact} Start it (`mlflow server`), mend tracking.uri, or leave tracking.uri out to track in "
            f"the workspace.{another}"
        )


def refuse_scheme(uri: str) -> None:
    """Refuse what is no tracking URI.

    Raises:
        UserError: says how one begins.
    """
    scheme = urlparse(uri).scheme.partition("+")[0]
    if scheme not in SCHEMES or "://" not in uri:
        raise UserError(
            f"tracking.uri is {uri}: it begins with none of {', '.join(f'{one}://' for one in SCHEMES)}. "
            f"For a server write http://HOST:PORT."
        )


def link(uri: str, port: int, run: tuple[str, str] | None = None) -> str:
    """The deep link to a run (its experiment and itself, by id), or to the front page.

    A store that is no server is shown by `perceiver ui` at this port.
    """
    server = _server(uri, port)
    # Without the word behind it the UI shows what it has for language models.
    return f"{server}/#/experiments/{run[0]}/runs/{run[1]}?{TRAINING}" if run else server


def compare_link(uri: str, port: int, runs: Sequence[tuple[str, str]]) -> str:
    """The deep link to the page that lays these runs (each its experiment and itself, by id) side by side."""
    ids = quote(json.dumps([run for _, run in runs], separators=(",", ":")))
    experiments = quote(json.dumps(list(dict.fromkeys(one for one, _ in runs)), separators=(",", ":")))
    return f"{_server(uri, port)}/#/compare-runs?runs={ids}&experiments={experiments}&{TRAINING}"


def _server(uri: str, port: int) -> str:
    return (uri if is_server(uri) else "").rstrip("/") or f"http://127.0.0.1:{port}"
