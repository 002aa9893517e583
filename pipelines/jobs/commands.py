"""The commands that send runs to a cluster and look after them there: what they do, tell and answer."""

import os
import time
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any

from cluster.jobs import ADDRESS, Job, Jobs
from cluster.mistake import AwayError
from pipelines.jobs import submitting
from pipelines.jobs.choice import chosen
from pipelines.jobs.following import Lines, follow
from pipelines.jobs.options import JobsOptions, ListOptions, LogsOptions, Sending, StatusOptions, job_server
from pipelines.jobs.standing import Standing, answered, standing
from pipelines.outlook import refuse_model
from pipelines.progress import say, warn
from pipelines.stages import NAMES

Answer = tuple[int, dict[str, Any]]
"""The exit status, and the object that --json prints."""


def submit(options: Sending) -> Answer:
    """Send the run, unless it is there already; perhaps stay until it ends."""
    settings = options.run
    refuse_model(settings)
    options.course.check(NAMES)
    jobs = Jobs(settings.cluster.address)
    done = submitting.submit(jobs, settings, options)
    say(f"submit: {'sent' if done.sent else 'nothing is sent'}: {done.job} ({done.why})")
    job = jobs.find(done.job)
    status, seen = 0, options.follow and (done.sent or (job is not None and job.live))
    if seen:
        status, job = _follow(jobs, done.job, Lines(say))
    elif done.sent:
        say(f"  follow  {command('logs', jobs, done.job)} --follow")
        say(f"  stop    {command('stop', jobs, done.job)}")
    return status, {
        "id": done.job, "sent": done.sent, "why": done.why, "status": job.state if job else "PENDING",
        "address": jobs.address, "code": done.parcel.code, "data": done.parcel.data,
        "seen": seen, "answer": _answer(jobs, job),
    }  # fmt: skip


def _answer(server: Jobs, job: Job | None) -> dict[str, Any] | None:
    """What the run of a job that succeeded has printed, now or before."""
    if job is None or job.state != "SUCCEEDED":
        return None
    with suppress(AwayError):  # the job has succeeded all the same
        return answered(server.log(job.id))
    return None


def jobs(options: JobsOptions) -> Answer:
    """List, look at, read or stop jobs."""
    server = Jobs(job_server(options.address))
    if isinstance(options, ListOptions):
        return _list(server, options)
    job = chosen(server, options.id)
    if isinstance(options, LogsOptions):
        return _logs(server, job, options)
    return _status(server, job) if type(options) is StatusOptions else _stop(server, job)


def _list(server: Jobs, options: ListOptions) -> Answer:
    found = [one for one in server.all() if options.all or _ours(one)]
    described = [
        _described(one, "" if one.state == "SUCCEEDED" else server.log(one.id) or one.message)
        for one in found
    ]
    heads = ("id", "name", "status", "stage", "since", "duration")
    rows = [heads] + [
        (one["id"], one["name"], one["status"], _stage(one), one["since"], span(one["seconds"]))
        for one in described
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    for row in rows if found else ():
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if not found:
        say(f"no jobs at {server.address}{'' if options.all else ' that `perceiver submit` sent (--all)'}")
    return 0, {"address": server.address, "jobs": described}


def _status(server: Jobs, job: Job) -> Answer:
    described = _described(job, server.log(job.id) or job.message)
    told = {**described, "stage": _stage(described)}
    for name in ("id", "status", "stage", "words", "since"):
        say(f"  {name:10} {told[name]}")
    say(f"  {'duration':10} {span(described['seconds'])}")
    for name in ("workspace", "run_file", "course", "code", "data", "submitter", "version", "environment"):
        if value := job.metadata.get(name):
            say(f"  {name:10} {value}")
    if job.state == "FAILED":
        say(f"  {'end':10} it {ending(job)}")
        for line in job.message.splitlines()[-10:]:
            say(f"    {line}")
    return 0, described


def _logs(server: Jobs, job: Job, options: LogsOptions) -> Answer:
    status = 0
    if options.follow:
        status, job = _follow(server, job.id, Lines(say))
    else:
        say(server.log(job.id).rstrip("\n"))
    return status, {"id": job.id, "status": job.state, "address": server.address}


def _stop(server: Jobs, job: Job) -> Answer:
    if not job.live:
        say(f"stop: {job.id} has {job.state.lower()} already")
        return 0, {"id": job.id, "status": job.state, "address": server.address}
    known = len(server.log(job.id))
    server.stop(job.id)
    seconds = job.metadata.get("stop_seconds", "")
    say(
        f"stop: {job.id} is asked to. A training takes a checkpoint first"
        f"{f', for which it has {seconds} s; then it is killed' if seconds else ''}"
    )
    heard: list[str] = []

    def hear(line: str) -> None:
        heard.append(line)
        say(f"  {line}")

    status, job = _follow(server, job.id, Lines(hear, known), stopping=True)
    if job.state == "STOPPED":
        begun, saved = (
            any(word in line for line in heard) for word in ("a checkpoint is taken", "are saved")
        )
        lost = "; it was killed before its checkpoint was taken" if begun and not saved else ""
        say(f"stop: {job.id} is stopped{lost}. The same submit goes on from where it was")
        status = 0
    return status, {"id": job.id, "status": job.state, "address": server.address}


def _follow(server: Jobs, name: str, lines: Lines, stopping: bool = False) -> tuple[int, Job]:
    """Until it ends, or Ctrl-C; the exit status and the job."""
    try:
        job = follow(server, name, lines)
    except KeyboardInterrupt:
        warn(f"\n{name} goes on {'to its end' if stopping else 'without you'}.")
        warn(f"  return  {command('logs', server, name)} --follow")
        warn(f"  stop    {command('stop', server, name)}")
        job = server.find(name)
        assert job is not None  # it was followed a moment ago
        return 1, job
    if not (stopping and job.state == "STOPPED"):
        warn(f"{name} {ending(job)}")
    if job.exit_code is None and job.state == "FAILED":
        warn(job.message)
    return {"SUCCEEDED": 0}.get(job.state, 2 if job.exit_code == 2 else 1), job


def command(action: str, server: Jobs, name: str) -> str:
    """What to type."""
    there = (
        "" if os.environ.get(ADDRESS, "").rstrip("/") == server.address else f" --address {server.address}"
    )
    return f"perceiver jobs {action} {name}{there}"


def ending(job: Job) -> str:
    """How it ended, in words."""
    after = f"after {span((job.ended or time.time()) - job.began)}"
    if job.state != "FAILED":
        verb = {"SUCCEEDED": "has succeeded", "STOPPED": "was stopped"}.get(job.state, "goes on")
        return f"{verb} {after}"
    if job.exit_code is None:
        return f"has failed {after}: Ray lost it, or could not start it"
    if job.exit_code < 0 or job.exit_code > 128:
        signal = -job.exit_code if job.exit_code < 0 else job.exit_code - 128
        return f"was killed by signal {signal} {after}. The same submit goes on from where it was"
    return f"has failed {after} with status {job.exit_code}"


def span(seconds: float) -> str:
    """A duration in the two units that say most."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _ours(job: Job) -> bool:
    return job.metadata.get("made_by") == submitting.MADE_BY


def _stage(described: dict[str, Any]) -> str:
    """Where it is, or where it ended."""
    if described["status"] == "SUCCEEDED":
        return "done"
    return str(Standing(**{field.name: described[field.name] for field in fields(Standing)}))


def _described(job: Job, log: str) -> dict[str, Any]:
    return {
        "id": job.id, "name": job.metadata.get("name", ""), "status": job.state, **asdict(standing(log)),
        "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job.began)),
        "began": job.began, "seconds": (job.ended or time.time()) - job.began, "exit_code": job.exit_code,
        "metadata": dict(job.metadata),
    }  # fmt: skip
