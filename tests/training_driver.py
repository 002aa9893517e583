"""Trains as `perceiver train` does, at the test's pace and with a fault: DRIVER PACE FAULT RUN.toml ...

PACE is a file with the seconds that each step takes longer; FAULT is one of `faults.py` in JSON, or {}. With
`stale_seconds` in it a silent holder of the workspace's lease is taken over so soon.
"""

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from faults import Fault, own_rank

from cluster.mistake import UserError
from cluster.session import session
from pipelines.artifacts import Trained
from pipelines.attempts import OvertakenError
from pipelines.lease import STALE_SECONDS
from pipelines.progress import progress, say
from pipelines.settings import read
from pipelines.stages import Task
from pipelines.stopping import StoppedError
from pipelines.tracking.tracker import Tracker
from pipelines.training.on_ray import train
from pipelines.training.state import State
from pipelines.workflow import at_work, stage_of


@dataclass(frozen=True)
class Paced:
    """Slows the first rank, and lets one fault happen."""

    pace: Path
    fault: Fault | None

    def __call__(self, phase: str, step: int, state: State) -> None:
        if phase == "begin" and own_rank() == 0:
            with suppress(ValueError):  # it is being written
                time.sleep(float(self.pace.read_text()))
        if self.fault:
            self.fault(phase, step, state)


def main(pace: str, fault: str, run_file: str, *options: str) -> None:
    """The stage, without what comes before and after it."""
    told = json.loads(fault)
    stale_seconds = told.pop("stale_seconds", STALE_SECONDS)
    watch = Paced(Path(pace), Fault(**{**told, "mark": Path(told["mark"])}) if told else None)

    def paced(task: Task, tracker: Tracker) -> Trained:
        with session(task.settings.cluster), progress("train") as advance:
            return train(task.settings, task.made.shards, tracker, advance, watch)

    with at_work(read(run_file, list(options)), stale_seconds) as work:
        work.perform(replace(stage_of("train"), make=paced))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        say(f"error: {error}")
        sys.exit(2)
    except (StoppedError, OvertakenError) as ended:
        say(f"{ended}")
        sys.exit(1)
