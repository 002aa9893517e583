"""Jobs on a Ray cluster: the one file that speaks to Ray's job server, with a token where it wants one."""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal, NoReturn

from cluster.job_refusals import REACH_SECONDS, no_entry, no_server, refuse_other_ray, refuse_silence
from cluster.mistake import AwayError, UserError

ADDRESS = "RAY_API_SERVER_ADDRESS"
TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
"""Seconds between Ray's SIGTERM and its SIGKILL (3 where nobody says more): the job's supervisor reads it
from its own environment, which is the job's."""
ANSWER_SECONDS = 60.0
SILENT_SECONDS = 20.0
"""A log that says nothing for so long is no proof of a connection: the server is asked."""

State = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
LIVE: tuple[State, ...] = ("PENDING", "RUNNING")


@dataclass(frozen=True, kw_only=True)
class Job:
    """What the server knows of a job."""

    id: str
    state: State
    message: str
    exit_code: int | None
    began: float
    """Seconds since 1970."""
    ended: float | None
    metadata: Mapping[str, str]

    @property
    def live(self) -> bool:
        """Whether it waits or runs."""
        return self.state in LIVE


@dataclass(frozen=True, kw_only=True)
class Request:
    """A job that is yet to be."""

    id: str
    entrypoint: str
    folder: str
    """Its working directory, which is uploaded."""
    variables: Mapping[str, str]
    """Its environment; whoever has the cluster's token can read it."""
    metadata: Mapping[str, str]
    install: tuple[str, ...] = ()
    """Requirements that Ray installs for it on each node."""
    driver: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the driver takes of a node, as JobSubmissionClient names it; nothing: it runs on the head."""


class Jobs:
    """The job server at `address`."""

    def __init__(self, address: str) -> None:
        """Find out whether it answers, lets us in and runs our Ray.

        Raises:
            UserError: it does not.
        """
        self.address = address.rstrip("/")
        refuse_silence(self.address)
        if any(os.environ.get(name) for name in TOKENS):
            # Ray sends a token only where the mode says so; who sets one means it to be used.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        self._client = self._connected()
        theirs, ours = self._client._server_ray_version, self._client._client_ray_version
        refuse_other_ray(self.address, theirs, ours)

    def find(self, id: str) -> Job | None:  # noqa: A002  Ray's own word
        """The job of this id, if there is one."""
        try:
            return _job(self._client.get_job_info(id))
        except RuntimeError as error:
            if _status(error) == 404:
                return None
            raise AwayError(self._said(error)) from error
        except OSError as error:
            self._away(error)

    def all(self) -> list[Job]:
        """All submitted jobs, the newest first."""
        try:
            found = self._client.list_jobs()
        except (OSError, RuntimeError) as error:
            self._away(error)
        jobs = [_job(one) for one in found if one.submission_id]
        return sorted(jobs, key=lambda one: one.began, reverse=True)

    def submit(self, request: Request) -> bool:
        """Begin the job; False where one of this id is there already, however late it came.

        Raises:
            UserError: the server does not take it.
        """
        environment: dict[str, Any] = {
            "working_dir": request.folder, "env_vars": dict(request.variables),
        }  # fmt: skip
        if request.install:
            environment["pip"] = {"packages": list(request.install), "pip_check": False}
        try:
            self._client.submit_job(
                entrypoint=request.entrypoint, submission_id=request.id, runtime_env=environment,
                metadata=dict(request.metadata), **request.driver,
            )  # fmt: skip
        except RuntimeError as error:
            if "already exists" in str(error):
                return False
            raise UserError(f"{self.address} does not take the job: {_last_line(error)}") from error
        except OSError as error:
            self._away(error)
        return True

    def stop(self, id: str) -> None:  # noqa: A002
        """Ask the job to stop: its process gets SIGTERM, and SIGKILL when its time to stop is over."""
        try:
            self._client.stop_job(id)
        except (OSError, RuntimeError) as error:
            self._away(error)

    def log(self, id: str) -> str:  # noqa: A002
        """All that the job has said; empty where its node is gone."""
        try:
            return self._client.get_job_logs(id)
        except RuntimeError:
            return ""
        except OSError as error:
            self._away(error)

    def tail(self, id: str, take: Callable[[str], None]) -> None:  # noqa: A002
        """Hand over the job's log from its beginning, piece by piece as it grows, until the job has ended.

        Raises:
            AwayError: the connection was lost.
        """
        import aiohttp

        try:
            asyncio.run(self._tail(id, take))
        except (OSError, RuntimeError, aiohttp.ClientError) as error:
            self._away(error)

    async def _tail(self, id: str, take: Callable[[str], None]) -> None:  # noqa: A002
        pieces = aiter(self._client.tail_job_logs(id))
        while True:
            piece = asyncio.ensure_future(anext(pieces, None))
            while not (await asyncio.wait({piece}, timeout=SILENT_SECONDS))[0]:
                await asyncio.to_thread(self.find, id)
            if (text := piece.result()) is None:
                return
            take(text)

    def _connected(self) -> Any:
        _quieten()
        import requests
        from ray.exceptions import AuthenticationError
        from ray.job_submission import JobSubmissionClient

        class Client(JobSubmissionClient):
            """Ray's own waits for an answer for ever."""

            def _do_request(self, method: str, endpoint: str, **more: Any) -> Any:
                return super()._do_request(method, endpoint, timeout=(REACH_SECONDS, ANSWER_SECONDS), **more)

        try:
            with _only(self.address):
                return Client(self.address)
        except AuthenticationError as error:
            raise UserError(no_entry(self.address, str(error))) from error
        except requests.exceptions.RequestException as error:
            if isinstance(error, requests.exceptions.JSONDecodeError | requests.exceptions.HTTPError):
                raise UserError(no_server(self.address, str(error))) from error
            self._away(error)
        except ConnectionError as error:
            self._away(error)
        except (RuntimeError, KeyError, ValueError) as error:
            raise UserError(no_server(self.address, _last_line(error))) from error

    def _said(self, error: Exception) -> str:
        return f"The job server at {self.address} says: {_last_line(error)}"

    def _away(self, error: Exception) -> NoReturn:
        if isinstance(error, RuntimeError) and _status(error):
            raise AwayError(self._said(error)) from error
        raise AwayError(f"The job server at {self.address} does not answer ({_last_line(error)}).") from error


@contextmanager
def _only(address: str) -> Generator[None]:
    """Ray would let RAY_API_SERVER_ADDRESS and RAY_ADDRESS override whatever address it is given."""
    before = os.environ.get(ADDRESS)
    os.environ[ADDRESS] = address
    try:
        yield
    finally:
        del os.environ[ADDRESS]
        if before is not None:
            os.environ[ADDRESS] = before


def _quieten() -> None:
    """Ray tells each upload; its modules set their own level when they are imported."""
    modules = "dashboard.modules"
    for name in (f"{modules}.dashboard_sdk", f"{modules}.job.sdk", "_private.runtime_env.packaging"):
        import_module(f"ray.{name}")
        logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)


def _job(found: Any) -> Job:
    return Job(
        id=found.submission_id or found.job_id, state=str(found.status.value),  # pyright: ignore[reportArgumentType]
        message=found.message or "", exit_code=found.driver_exit_code, began=(found.start_time or 0) / 1000,
        ended=found.end_time / 1000 if found.end_time else None, metadata=found.metadata or {},
    )  # fmt: skip


def _status(error: Exception) -> int:
    """The HTTP status that Ray's error names; 0 where none."""
    found = re.match(r"Request failed with status code (\d+)", str(error))
    return int(found[1]) if found else 0


def _last_line(error: Exception) -> str:
    """Ray hands on the server's traceback: its last line says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" .")]
    return lines[-1] if lines else type(error).__name__
