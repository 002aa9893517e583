"""A job's log as it grows, over connections that may break."""

import time
from collections.abc import Callable

from cluster.jobs import Job, Jobs
from cluster.mistake import AwayError, UserError
from pipelines.progress import warn

PAUSE_SECONDS = 2.0
PATIENCE_SECONDS = 600.0


class Lines:
    """Whole lines out of pieces; a log that is sent from its beginning again goes on where it was left."""

    def __init__(self, show: Callable[[str], None], seen: int = 0) -> None:
        """The first `seen` characters are known."""
        self._show, self._seen = show, seen
        self._skip, self._open = seen, ""

    @property
    def seen(self) -> int:
        """Characters taken so far, repetitions left out."""
        return self._seen

    def restart(self) -> None:
        """What comes next begins at the log's beginning."""
        self._skip = self._seen

    def take(self, piece: str) -> None:
        """Show the lines that this piece completes."""
        new = piece[self._skip :]
        self._skip = max(0, self._skip - len(piece))
        self._seen += len(new)
        *whole, self._open = (self._open + new).split("\n")
        for line in whole:
            self._show(line)

    def end(self) -> None:
        """Nothing comes after this."""
        if self._open:
            self._show(self._open)
        self._open = ""


def follow(jobs: Jobs, name: str, lines: Lines) -> Job:
    """Hand over the log until the job `name` has ended; the job as it is then.

    Raises:
        UserError: the cluster does not know it any more.
        AwayError: the cluster has been away for too long.
    """
    since: float | None = None
    while True:
        known, away = lines.seen, None
        try:
            job = _read(jobs, name, lines)
        except AwayError as error:
            job, away = None, error
        if job and not job.live:
            lines.end()
            return job
        since = _patient(away, since if lines.seen == known else None)
        time.sleep(PAUSE_SECONDS)


def _read(jobs: Jobs, name: str, lines: Lines) -> Job:
    """One connection, as long as it lasts."""
    if jobs.find(name) is None:
        raise UserError(
            f"{jobs.address} knows no job {name} any more: its head was started anew. Submit the run again; "
            f"what is done is not repeated."
        )
    lines.restart()
    jobs.tail(name, lines.take)
    job = jobs.find(name)
    if job is None:
        raise AwayError(f"{jobs.address} has just forgotten the job {name}")
    return job


def _patient(away: AwayError | None, since: float | None) -> float | None:
    """Since when nothing was heard; says that it began, and what it means."""
    if away is None:
        return None
    now = time.monotonic()
    if since is None:
        warn(f"lost the connection: {away} The job needs none; trying again for {PATIENCE_SECONDS:.0f} s")
        return now
    if now - since > PATIENCE_SECONDS:
        raise away
    return since
