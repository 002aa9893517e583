"""What `perceiver submit` and `perceiver jobs` are told."""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated

import tyro

from cluster.jobs import ADDRESS
from cluster.mistake import UserError
from pipelines.course import WHOLE, Course
from pipelines.settings import RunSettings, cli, command_line

Flag = tyro.conf.FlagCreatePairsOff


@dataclass(frozen=True, kw_only=True)
class DriverOptions:
    """What the job's own process takes of a node; its workers are `cluster.workers`. Nothing: it runs on the
    head."""

    cpus: float = 0.0
    """CPU cores."""
    gpus: float = 0.0
    """GPUs."""
    memory_gib: float = 0.0
    """Memory, in GiB."""
    resources: tuple[str, ...] = ()
    """Custom resources of a node, as NAME=AMOUNT."""

    def __post_init__(self) -> None:
        try:
            amounts = self.amounts()
        except ValueError as error:
            raise ValueError(
                f"driver.resources is {' '.join(self.resources)}: write NAME=AMOUNT, for example disk=1"
            ) from error
        if min(self.cpus, self.gpus, self.memory_gib, *amounts.values()) < 0:
            raise ValueError("what the driver takes is negative: 0 is the least")

    def amounts(self) -> dict[str, float]:
        """The custom resources."""
        pairs = (one.rpartition("=") for one in self.resources)
        return {name: float(amount) for name, _, amount in pairs}


@dataclass(frozen=True, kw_only=True)
class SubmitOptions:
    follow: Flag[bool] = False
    """Show the job's log until it ends, and end with its status; Ctrl-C leaves the job running."""
    again: Flag[bool] = False
    """Send it although the same run has succeeded."""
    install: Flag[bool] = False
    """Let Ray install the packages of this environment, pinned, on the nodes; else their image has them."""
    env: tuple[str, ...] = ()
    """Names of environment variables that go along, besides MLFLOW_TRACKING_URI."""
    stop_seconds: int = 300
    """Seconds that a stop waits for the checkpoint; then Ray kills the job."""
    python: str = "python"
    """Python on the cluster's nodes that has the packages."""
    driver: DriverOptions = field(default_factory=DriverOptions)
    course: Annotated[Course, tyro.conf.arg(name="")] = WHOLE
    """What the job's `perceiver run` takes besides the settings."""

    def __post_init__(self) -> None:
        if self.stop_seconds < 1:
            raise ValueError(f"stop-seconds is {self.stop_seconds}: 1 is the least")


@dataclass(frozen=True, kw_only=True)
class Sending(SubmitOptions):
    """A run, and how it is sent; `run.cluster.address` is the job server."""

    run: Annotated[RunSettings, tyro.conf.arg(name=""), tyro.conf.FlagConversionOff]


@dataclass(frozen=True, kw_only=True)
class ListOptions:
    all: Flag[bool] = False
    """Also jobs that were not sent by `perceiver submit`."""
    address: str = ""
    """Ray job server, http://HOST:8265; empty: RAY_API_SERVER_ADDRESS."""


@dataclass(frozen=True, kw_only=True)
class StatusOptions:
    id: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="ID")] = ""
    """The job's id, or its beginning; left out: the one that is at work."""
    address: str = ""
    """Ray job server, http://HOST:8265; empty: RAY_API_SERVER_ADDRESS."""


@dataclass(frozen=True, kw_only=True)
class LogsOptions(StatusOptions):
    follow: Flag[bool] = False
    """Go on until the job ends, and end with its status; Ctrl-C leaves the job running."""


@dataclass(frozen=True, kw_only=True)
class StopOptions(StatusOptions):
    pass


JobsOptions = ListOptions | StatusOptions | LogsOptions | StopOptions
ACTIONS: dict[str, tuple[type[JobsOptions], str]] = {
    "list": (ListOptions, "The jobs of a cluster: id, status, stage and samples, since when, how long."),
    "status": (StatusOptions, "One job: where it is, what it was made from, how it ended."),
    "logs": (LogsOptions, "What a job has said."),
    "stop": (StopOptions, "Stop a job: a training takes a checkpoint first; submitted again it goes on."),
}


def parse(command: str, words: Sequence[str]) -> Sending | JobsOptions:
    """The options of `perceiver submit` or `perceiver jobs`.

    Raises:
        UserError: the run file, the action or the cluster is not named.
        SystemExit: with status 2 and an explanation on stderr, a word is wrong.
    """
    return _submit(words) if command == "submit" else _jobs(words)


def job_server(address: str) -> str:
    """The address, or that of the environment.

    Raises:
        UserError: neither names a job server.
    """
    found = address if address not in ("", "local", "auto") else os.environ.get(ADDRESS, "")
    if not found:
        raise UserError(
            f"Which cluster? Name its job server, http://HOST:8265 (the head's dashboard), with "
            f"--cluster.address (submit), --address (jobs) or {ADDRESS}."
        )
    if "://" not in found:
        raise UserError(
            f'"{found}" is no address of a job server, which begins with http:// and has the port of the '
            f"head's dashboard: http://{found.partition(':')[0]}:8265."
        )
    return found


def _submit(words: Sequence[str]) -> Sending:
    if set(words) & {"-h", "--help"}:
        tyro.cli(SubmitOptions, args=["--help"], prog="perceiver submit RUN.toml", description=_ABOUT)
    if not words or words[0].startswith("-"):
        raise UserError("`perceiver submit` needs a run file first: perceiver submit RUN.toml")
    run_file, options = words[0], list(words[1:])
    sending = cli(Sending, command_line(run_file, options), f"perceiver submit {run_file}", _ABOUT)
    run = sending.run
    cluster = replace(run.cluster, address=job_server(run.cluster.address))
    return replace(sending, run=replace(run, cluster=cluster, run_file=run_file))


_ABOUT = (
    "Send the run as a job to a Ray cluster (--cluster.address http://HOST:8265). Every setting of the run "
    "file is an option too: `perceiver run --help` lists them."
)


def _jobs(words: Sequence[str]) -> JobsOptions:
    action, rest = (words[0], words[1:]) if words and not words[0].startswith("-") else ("list", words)
    if set(words) & {"-h", "--help"} and action == "list" and words[0] != "list":
        width = max(map(len, ACTIONS))
        lines = (f"  {name:{width}}  {about}" for name, (_, about) in ACTIONS.items())
        print("perceiver jobs ACTION [ID] [--address http://HOST:8265] [--json]\n", *lines, sep="\n")  # noqa: T201
        print("\n`perceiver jobs ACTION --help` says more.")  # noqa: T201  it was asked for
        raise SystemExit(0)
    if action not in ACTIONS:
        near = difflib.get_close_matches(action, ACTIONS, n=1)
        raise UserError(
            f"{action} is nothing that `perceiver jobs` does."
            f"{f' Perhaps you meant {near[0]}.' if near else ''} It knows {', '.join(ACTIONS)}."
        )
    options, about = ACTIONS[action]
    return tyro.cli(options, args=list(rest), prog=f"perceiver jobs {action}", description=about)
