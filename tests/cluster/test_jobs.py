"""What is no job server, or one of another Ray, is refused with the fact and the way out."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from ports import free_port
from small_runs import Command

from cluster.jobs import Jobs
from cluster.mistake import UserError
from cluster.session import check
from cluster.settings import ClusterSettings

Answer = tuple[int, str]


@contextmanager
def serving(version: Answer) -> Iterator[str]:
    """A server that answers every question so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(version[0])
            self.end_headers()
            self.wfile.write(version[1].encode())

        def log_message(self, *words: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", free_port()), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ((404, "Not Found"), "is no Ray job server"),
        ((200, "<html>MLflow</html>"), "is no Ray job server"),
        ((200, "{}"), "is no Ray job server"),
        ((503, "busy"), "is no Ray job server"),
        (
            (200, json.dumps({"ray_version": "2.41.0"})),
            "runs Ray 2.41.0, and this code is tested with Ray 2.",
        ),
        (
            (401, "Unauthorized: Missing authentication token"),
            "wants a token. `export RAY_AUTH_MODE=token` sends that of ~/.ray/auth_token",
        ),
        ((403, "Forbidden: Invalid authentication token"), "refuses the token"),
    ],
)
def test_what_answers_otherwise_is_refused(
    version: Answer, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with serving(version) as address, pytest.raises(UserError) as refused:
        Jobs(address)

    assert said in str(refused.value)
    assert address in str(refused.value)


def test_the_address_that_was_given_counts_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:2")
    answer = (200, json.dumps({"ray_version": "2.41.0"}))

    with serving(answer) as address, pytest.raises(UserError, match=f"{address} runs Ray"):
        Jobs(address)


@pytest.mark.slow  # A process each: Ray reads the token once.
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": ""}, "wants a token. Set RAY_AUTH_TOKEN"),
        (
            {"RAY_AUTH_TOKEN_PATH": "/no/such/file", "RAY_AUTH_TOKEN": ""},
            "cannot be opened or is empty: /no/such/file.",
        ),
    ],
)
def test_a_token_that_is_nowhere_is_asked_for(
    variables: dict[str, str], said: str, perceiver: Command, tmp_path: Path
) -> None:
    with serving((401, "Unauthorized: Missing authentication token")) as address:
        refused = perceiver(
            "jobs", "--address", address, check=False, env={**variables, "HOME": str(tmp_path)}
        )

    assert refused.returncode == 2
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (lambda: f"http://127.0.0.1:{free_port()}", "No Ray job server answers"),
        (lambda: "http://no.such.host.invalid:8265", "No Ray job server answers"),
        (lambda: "ray://head:10001", "write http://HOST:8265"),
        (lambda: "http://:8265", "write http://HOST:8265"),
        (lambda: "http://head:port", "write http://HOST:8265"),
    ],
)
def test_an_address_where_nobody_listens_is_named(address: Callable[[], str], said: str) -> None:
    there = address()

    with pytest.raises(UserError) as refused:
        Jobs(there)

    assert said in str(refused.value)
    assert there in str(refused.value)


def test_a_run_that_would_join_a_job_server_is_told_how_to_be_sent_there() -> None:
    with pytest.raises(UserError, match="perceiver submit"):
        check(ClusterSettings(address="http://head:8265"))
