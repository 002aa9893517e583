"""A Ray session for as long as a stage needs one."""

import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from cluster.mistake import UserError
from cluster.settings import ClusterSettings

REACH_SECONDS = 2.0


def check(settings: ClusterSettings) -> None:
    """Find out, in seconds and without Ray, whether the cluster can be reached.

    Raises:
        UserError: `settings.address` names no cluster that answers.
    """
    if settings.address in ("local", "auto"):
        return
    host, _, port = settings.address.rpartition(":")
    if settings.address.startswith(("http://", "https://")):
        raise UserError(
            f"{settings.address} is a job server: send the run there with `perceiver submit RUN.toml`. To "
            f'join a cluster from one of its nodes, cluster.address is "auto" or host:6379.'
        )
    if not host or not port.isdigit() or "//" in host:
        raise UserError(
            f'cluster.address is "{settings.address}": give "local", "auto", or host:port of a Ray head '
            f"(port 6379 unless it was started with another)."
        )
    try:
        socket.create_connection((host, int(port)), timeout=REACH_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"No Ray cluster answers at {settings.address} ({error}). Start one there with "
            f"`ray start --head --port={port}`, or leave out cluster.address to run on this machine."
        ) from error


@contextmanager
def session(settings: ClusterSettings) -> Generator[None]:
    """Ray, started or joined; left as it was found.

    Raises:
        UserError: there is no cluster to join.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    # Threads that spin while they wait (GNU OpenMP's way) keep a core from whom they wait for: two threads of
    # a worker beside other work took four times as long. Only processes that are yet to start are told.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    import ray

    if ray.is_initialized():
        yield
        return
    # Short, because the sockets in it must stay under 107 bytes.
    scratch = tempfile.mkdtemp(prefix="ray-") if settings.address == "local" else ""
    try:
        _start(settings.address, scratch)
        yield
    finally:
        ray.shutdown()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def _start(address: str, scratch: str) -> None:
    import ray

    own: Any = {"include_dashboard": False, "_temp_dir": scratch} if scratch else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(
            f"The Ray cluster at {address} cannot be joined: {error}. Run this on one of its nodes, with "
            f"RAY_AUTH_MODE and RAY_AUTH_TOKEN where it wants a token, or leave out cluster.address."
        ) from error
