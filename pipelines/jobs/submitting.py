"""A run as a job of a cluster: never there twice, and one that died goes on when it is sent again."""

import getpass
import hashlib
import os
import re
import shlex
import socket
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cluster.jobs import STOP_WAIT, Job, Jobs, Request
from cluster.mistake import UserError
from cluster.storage import is_bucket
from pipelines.course import WHOLE, Course
from pipelines.jobs import parcel, pins
from pipelines.jobs.options import DriverOptions, SubmitOptions
from pipelines.jobs.parcel import Parcel
from pipelines.jobs.standing import standing
from pipelines.progress import say
from pipelines.settings import RunSettings
from pipelines.stages import NAMES
from preprocessing.glance import UNSEEN, data_version

MADE_BY = "perceiver"
GOES_ALONG = "MLFLOW_TRACKING_URI"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_TOKEN")


@dataclass(frozen=True)
class Submission:
    """What became of a submission."""

    job: str
    """Its id."""
    sent: bool
    """False where it ran, or had run, already."""
    why: str
    parcel: Parcel


def submit(jobs: Jobs, settings: RunSettings, options: SubmitOptions) -> Submission:
    """Send the run, unless it is there already.

    Raises:
        UserError: something is in the way.
    """
    variables = passed(options.env)
    contents = prepare(settings, options.course)
    stem = f"{slug(settings.name)}-{contents.digest[:12]}"
    attempt, before = latest(jobs, stem)
    while True:
        if before and before.live:
            return Submission(before.id, False, f"it is {before.state.lower()} already", contents)
        if before and before.state == "SUCCEEDED" and not options.again:
            why = "it has done this already; --again sends it all the same"
            return Submission(before.id, False, why, contents)
        refuse_busy(jobs, settings)
        course = options.course
        if before and before.state != "SUCCEEDED":
            course = course.after(standing(jobs.log(before.id)).stage, NAMES)
        why = f"attempt {attempt}" + (f": {before.id} has {before.state.lower()}" if before else "")
        request = Request(
            id=f"{stem}-{attempt}", folder="",
            entrypoint=entrypoint(options.python, contents.name, course.words),
            variables={**variables, STOP_WAIT: str(options.stop_seconds)},
            metadata={**metadata(settings, contents, variables), "stop_seconds": str(options.stop_seconds)},
            driver=driver(options.driver),
            install=pins.requirements() if options.install else (),
        )  # fmt: skip
        if send(jobs, request, contents):
            return Submission(request.id, True, why, contents)
        # Somebody was quicker with the same run: it is theirs that counts.
        attempt, before = latest(jobs, stem)


def prepare(settings: RunSettings, course: Course = WHOLE) -> Parcel:
    """What would be sent; says what it takes along and how."""
    for name, (before, now) in parcel.places(settings).items():
        became = f" ({before} here)" if before != now else ""
        say(f"submit: {name} is {now}{became}{'' if is_bucket(now) else ', which every node has to mount'}")
    data, why = data_version(settings.data)
    if data == UNSEEN:
        say(f"submit: the raw files cannot be seen from here, so that new ones are not noticed ({why})")
    # A schedule's run, which may renew, is the same work as one that is sent by hand.
    work = replace(course, renew=False).words
    return Parcel(
        name=parcel.name_of(settings.run_file), run_file=parcel.run_file(settings),
        code=parcel.code_digest(), data=data, course=work,
    )  # fmt: skip


def latest(jobs: Jobs, stem: str) -> tuple[int, Job | None]:
    """The number of the next attempt, and the job of the one before it."""
    attempt, before = 1, None
    while found := jobs.find(f"{stem}-{attempt}"):
        attempt, before = attempt + 1, found
    return attempt, before


def refuse_busy(jobs: Jobs, settings: RunSettings) -> None:
    """Two runs in one workspace would end each other.

    Raises:
        UserError: another job is at work there.
    """
    place = str(settings.root)
    for job in jobs.all():
        if job.live and job.metadata.get("made_by") == MADE_BY and job.metadata.get("workspace") == place:
            raise UserError(
                f"{job.id} is {job.state.lower()} in the workspace {place}, with other settings, code "
                f"or data. Wait until it ends, stop it (perceiver jobs stop {job.id}), or name another "
                f"workspace."
            )


def send(jobs: Jobs, request: Request, contents: Parcel) -> bool:
    """Upload and begin; False where a job of this id is there."""
    with tempfile.TemporaryDirectory(prefix="perceiver-") as folder:
        contents.pack(Path(folder), submitter())
        return jobs.submit(replace(request, folder=folder))


def entrypoint(python: str, run_file: str, course: tuple[str, ...] = ()) -> str:
    """The shell's words; `exec`, so that it is our process that SIGTERM reaches and whose status counts."""
    python = shlex.quote(python)
    words = " ".join(("run", run_file, *course, "--cluster.address", "auto", "--json"))
    run = f"exec {python} -m pipelines {words}"
    return f"{python} -m pipelines.jobs.arrival && {run}"


def passed(names: tuple[str, ...]) -> dict[str, str]:
    """The environment variables that go along.

    Raises:
        UserError: one is not set here.
    """
    for name in names:
        if "=" in name:
            raise UserError(
                f"--env takes names, not values, which everybody on this machine could read: export "
                f"{name.partition('=')[0]}, then name it."
            )
        if name not in os.environ:
            raise UserError(f"--env names {name}, which is not set here. Set it, or leave it out.")
    found = {name: os.environ[name] for name in (GOES_ALONG, *names) if os.environ.get(name)}
    if found:
        say(f"submit: {', '.join(found)} go{'es' * (len(found) == 1)} along from this environment")
    if left := [name for name in SECRETS if name in os.environ and name not in found]:
        say(f"submit: {', '.join(left)} stay{'s' * (len(left) == 1)} here; --env NAME sends one along")
    return found


def driver(options: DriverOptions) -> dict[str, Any]:
    """What the driver takes, in the words of Ray's client."""
    wanted: dict[str, Any] = {
        "entrypoint_num_cpus": options.cpus, "entrypoint_num_gpus": options.gpus,
        "entrypoint_memory": int(options.memory_gib * 2**30), "entrypoint_resources": options.amounts(),
    }  # fmt: skip
    return {name: amount for name, amount in wanted.items() if amount}


def metadata(settings: RunSettings, contents: Parcel, variables: dict[str, str]) -> dict[str, str]:
    """What everybody may read beside the job; no value of any variable."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        product = version(pins.PRODUCT)
    except PackageNotFoundError:
        product = "not installed"
    written = Path(settings.run_file)
    return {
        "made_by": MADE_BY, "name": settings.name, "workspace": str(settings.root), "version": product,
        "run_file": written.name, "run_file_sha256": hashlib.sha256(written.read_bytes()).hexdigest(),
        "settings": hashlib.sha256(contents.run_file.encode()).hexdigest(), "code": contents.code,
        "data": contents.data, "course": " ".join(contents.course), "submitter": submitter(),
        "environment": " ".join(variables),
    }  # fmt: skip


def submitter() -> str:
    """Who sends it, from where."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def slug(name: str) -> str:
    """The name as part of an id, which stands in addresses and names of files."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()[:40] or "run"
