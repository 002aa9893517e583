"""Why a Ray job server cannot be used: nobody answers, another one answers, or it does not let us in."""

import os
import socket
from urllib.parse import urlparse

from cluster.mistake import AwayError, UserError

REACH_SECONDS = 3.0


def refuse_silence(address: str) -> None:
    """Ray would try for long where nothing listens."""
    url = urlparse(address)
    try:
        if url.scheme not in ("http", "https") or not url.hostname:
            raise ValueError
        port = url.port or {"http": 80, "https": 443}[url.scheme]
    except ValueError as error:
        raise UserError(
            f'"{address}" is no address of a Ray job server: write http://HOST:8265, the head\'s dashboard.'
        ) from error
    try:
        socket.create_connection((url.hostname, port), timeout=REACH_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise AwayError(
            f"No Ray job server answers at {address} ({error}). It is the head's dashboard, port 8265 unless "
            f"it was started with another (`ray start --head --dashboard-host=0.0.0.0`); where a firewall "
            f"lies between, `ssh -L 8265:localhost:8265 HEAD` or `kubectl port-forward` brings it here."
        ) from error


def refuse_other_ray(address: str, theirs: str | None, ours: str) -> None:
    """The code is for one Ray."""
    if theirs and theirs.split(".")[:2] != ours.split(".")[:2]:
        raise UserError(
            f"{address} runs Ray {theirs}, and this code is tested with Ray {ours}, which is installed here. "
            f"Start the cluster with an image of Ray {ours}."
        )


def no_entry(address: str, said: str) -> str:
    """Why the server does not let us in; `said` is Ray's word for it."""
    ours = "that of the cluster (`ray get-auth-token` on the head shows it)"
    if said.startswith("Authentication failed"):
        return (
            f"{address} refuses the token that it was sent. RAY_AUTH_TOKEN, the file that "
            f"RAY_AUTH_TOKEN_PATH names, or else ~/.ray/auth_token must hold {ours}."
        )
    if "cannot be opened" in said:
        return f"{said.partition('. ')[0]}. Name a file whose content is {ours}."
    easy = (
        "`export RAY_AUTH_MODE=token` sends that of ~/.ray/auth_token, where the machine that started the "
        "cluster has it. Or "
    )
    return (
        f"{address} wants a token. {'S' if os.environ.get('RAY_AUTH_MODE') == 'token' else easy + 's'}et "
        f"RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH to a file that holds it, to {ours}."
    )


def no_server(address: str, said: str) -> str:
    """What else may answer there."""
    return f"What answers at {address} is no Ray job server ({said}). It is the head's dashboard, port 8265."
