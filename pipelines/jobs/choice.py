"""Which job a person means by an id, the beginning of one, or nothing."""

import difflib

from cluster.jobs import Job, Jobs
from cluster.mistake import UserError
from pipelines.jobs.submitting import MADE_BY


def chosen(jobs: Jobs, word: str) -> Job:
    """The job.

    Raises:
        UserError: there is none, or there are several.
    """
    if word and (job := jobs.find(word)):
        return job
    return meant(word, [one for one in jobs.all() if one.metadata.get("made_by") == MADE_BY], jobs.address)


def meant(word: str, ours: list[Job], address: str) -> Job:
    """The one whose id begins so; of several the one that is at work."""
    fitting = [one for one in ours if one.id.startswith(word)]
    live = [one for one in fitting if one.live]
    for few in (fitting, live) if word else (live,):
        if len(few) == 1:
            return few[0]
    if not word and not live:
        raise UserError(f"No job is at work at {address}. Name one: `perceiver jobs list` lists them.")
    if not fitting:
        near = difflib.get_close_matches(word, [one.id for one in ours], n=1)
        raise UserError(
            f"{address} knows no job {word}.{f' Perhaps you meant {near[0]}.' if near else ''} "
            f"`perceiver jobs list` lists them."
        )
    several = ", ".join(one.id for one in live or fitting)
    raise UserError(f"Which job{f' that begins with {word}' if word else ''}? There are {several}.")
