"""`perceiver compare`: finds the runs, lays them side by side, and says where MLflow shows them so."""

import os
import shlex
import shutil
from dataclasses import dataclass, field
from textwrap import wrap
from typing import Any

from cluster.mistake import UserError
from pipelines.compare import side_by_side
from pipelines.compare.comparison import Comparison
from pipelines.compare.options import CompareOptions
from pipelines.progress import say
from pipelines.settings import RunSettings, TrackingSettings
from pipelines.settings import read as read_run_file
from pipelines.tracking import reach
from pipelines.tracking.journal import RunRecord
from pipelines.tracking.mlflow_runs import Run, Runs

WIDTH = 100
"""Characters of a line where there is no terminal to ask."""


@dataclass
class Finder:
    """Finds runs by name, each in its store; stores are opened once."""

    named: str
    """The store that the person named, or nothing."""
    files: dict[str, RunSettings]
    """The run files among the names."""
    stores: dict[str, Runs] = field(default_factory=dict[str, Runs])

    def find(self, name: str) -> Run:
        """The run that is called so.

        Raises:
            UserError: there is none, or no store to look for it.
        """
        if name in self.files:
            settings = self.files[name]
            return self.store(self.named or settings.tracking_uri).run(_newest(name, settings))
        return self.store(self.named or self._usual(name)).find(name)

    def store(self, uri: str) -> Runs:
        """The runs of the store at `uri`."""
        if uri not in self.stores:
            self.stores[uri] = Runs.connect(uri)
        return self.stores[uri]

    def _usual(self, name: str) -> str:
        """Where a run is looked for that is no run file."""
        known = {settings.tracking_uri for settings in self.files.values()}
        if usual := os.environ.get("MLFLOW_TRACKING_URI", ""):
            return usual
        if len(known) == 1:
            return known.pop()
        raise UserError(
            f"Where is the run {name}? Name the tracking store with --tracking.uri or MLFLOW_TRACKING_URI, "
            f"or give a run file."
        )


def compare(options: CompareOptions) -> tuple[int, dict[str, Any]]:
    """Runs side by side."""
    files = {name: read_run_file(name, []) for name in options.runs if name.endswith(".toml")}
    finder = Finder(options.tracking.uri, files)
    runs = [finder.find(name) for name in options.runs]
    _refuse_twins(options.runs, runs)
    comparison = Comparison(runs)
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    for line in side_by_side.lines(comparison.tables(), comparison.names, width):
        say(line)
    if not comparison.same_shards:
        warning = "The runs learnt from different shards: their figures may be of different samples."
        say("\n" + "\n".join(wrap(warning, width)))
    link = _link(runs, next(iter(files.values()), None))
    _say_link(link, runs, next(iter(files), ""))
    return 0, comparison.as_object(link)


def _newest(name: str, settings: RunSettings) -> str:
    """The id of the newest run of a run file."""
    records = sorted((settings.root / "trainings").glob("*/run.json"), key=os.path.getmtime)
    if not records:
        raise UserError(f"{name} has no run in {settings.workspace} yet. First: perceiver run {name}")
    if run_id := RunRecord.read(records[-1]).run_id:
        return run_id
    raise UserError(f"The tracking store was not told of {name}'s run yet. First: perceiver tell {name}")


def _refuse_twins(names: tuple[str, ...], runs: list[Run]) -> None:
    """A run beside itself is a mistake."""
    seen: dict[str, str] = {}
    for name, run in zip(names, runs, strict=True):
        if run.run_id in seen:
            raise UserError(
                f"{seen[run.run_id]} and {name} are one run, {run.run_id[:8]} ({run.name}). Name another."
            )
        seen[run.run_id] = name


def _link(runs: list[Run], settings: RunSettings | None) -> str:
    """MLflow's page of these runs side by side, or nothing where no single store has them all."""
    if len({run.uri for run in runs}) > 1:
        return ""
    port = (settings.tracking if settings else TrackingSettings()).port
    return reach.compare_link(runs[0].uri, port, [(run.experiment, run.run_id) for run in runs])


def _say_link(link: str, runs: list[Run], run_file: str) -> None:
    if not link:
        say(
            "\nMLflow   cannot show them side by side, as they lie in several stores: track all in one "
            "(tracking.uri)"
        )
        return
    say(f"\nMLflow   {link}")
    if not reach.is_server(runs[0].uri):
        serve = ["mlflow", "ui", "--backend-store-uri", runs[0].uri, "--port", str(TrackingSettings().port)]
        say(f"         while this runs: {shlex.join(['perceiver', 'ui', run_file] if run_file else serve)}")
