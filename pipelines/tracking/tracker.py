"""What the stages tell the tracker: it is written to the journal at once, and told when the tracker answers.

So a tracker that is away, at any moment and for as long as it likes, neither stops nor slows a stage. Only
registering a model needs it.
"""

import json
import shlex
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cluster.mistake import AwayError, UserError
from pipelines.layout import Layout, binding
from pipelines.settings import RunSettings, as_params
from pipelines.tracking import history, journal, lines, mlflow_store, reach
from pipelines.tracking.about import about
from pipelines.tracking.journal import RunRecord, Untold
from pipelines.tracking.mlflow_registry import Arrays, Registry
from pipelines.tracking.mlflow_store import Store
from pipelines.tracking.telling import Errand, Teller, telling

SERVER_SECONDS = 5.0
FILE_SECONDS = 60.0
"""How long the end of a stage waits for the tracker. A database beside the run is slow when the machine is
busy, and never away."""
REGISTER_SECONDS = 60.0

NOTE = "mlflow.note.content"
"""The tag that MLflow shows as a run's description."""

Event = tuple[str, dict[str, Any]]
"""Its kind and what it says."""


@dataclass(frozen=True, kw_only=True)
class Tracker:
    """The MLflow run of one training."""

    settings: RunSettings
    layout: Layout

    @classmethod
    def open(cls, settings: RunSettings, layout: Layout) -> "Tracker":
        """The journal that this training has, or a new one with the run and its settings as first event."""
        mlflow_store.load()  # Here: two threads that import the same at once may find it half done.
        layout.folder.mkdir(parents=True, exist_ok=True)
        if not layout.run.exists():
            RunRecord(settings=binding(settings)).write(layout.run)
        tracker = cls(settings=settings, layout=layout)
        tracker._begin()
        return tracker

    @property
    def run_id(self) -> str:
        """The run by id, or nothing while the tracker has not answered yet."""
        return RunRecord.read(self.layout.run).run_id

    def teller(self) -> Teller:
        """Who tells the store what the journal holds."""
        uri, root = self.settings.tracking_uri, self.settings.root
        return Teller(self.layout, lambda: Store.connect(uri, root))

    @contextmanager
    def stage(self, name: str, tags: Mapping[str, str] = MappingProxyType({})) -> Generator[None]:
        """A nested run that holds how long `name` took and how it ended; the run itself ends alike.

        While it lasts the tracker is told what is in the journal and in the points' file.
        """
        seconds = SERVER_SECONDS if reach.is_server(self.settings.tracking_uri) else FILE_SECONDS
        with telling(self.teller(), self.settings.tracking_uri, seconds, command("tell", self.settings)):
            stage = journal.write(self.layout, "begun", stage=name, tags=dict(tags))
            began = time.monotonic()
            try:
                yield
            except BaseException as error:
                with suppress(OSError):  # what went wrong first is what the person must hear of
                    self._end(stage, began, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
                raise
            self._end(stage, began, "FINISHED")

    def result(self, metrics: Mapping[str, float], step: int) -> None:
        """Log the figures of an evaluation."""
        journal.write(self.layout, "figures", step=step, metrics=dict(metrics))

    def picture(self, path: str | Path) -> None:
        """Keep a file with the run."""
        path = Path(path).absolute()
        same = journal.once("picture", str(path).encode(), path.read_bytes())
        journal.write(self.layout, "picture", id=same, path=str(path))

    def tag(self, tags: Mapping[str, str]) -> None:
        """Let the run bear these tags."""
        same = journal.once("tags", json.dumps(tags, sort_keys=True).encode())
        journal.write(self.layout, "tags", id=same, tags=dict(tags))

    def dataset(self, place: str, digest: str, samples: Mapping[str, int]) -> None:
        """Name the shards as the run's input."""
        same = journal.once("dataset", place.encode(), digest.encode())
        facts = {"name": self.settings.name, "place": place, "digest": digest, "samples": dict(samples)}
        journal.write(self.layout, "dataset", id=same, **facts)

    def refuse_away(self) -> None:
        """Refuse to register where the registry does not answer.

        Raises:
            AwayError: it does not.
        """
        if fact := reach.away(self.settings.tracking_uri):
            raise AwayError(
                f"{fact} The model is trained and evaluated, but registering it needs the server. Run the "
                f"same command again when it is back; {self.layout.folder} keeps what it was not told."
            )

    def register(self, model: Mapping[str, Any], example: Arrays, tags: Mapping[str, str]) -> int:
        """Log a model (arguments of `mlflow.pyfunc.log_model`) and register it; its version.

        Raises:
            UserError: the tracker does not answer.
        """
        with self._told_registry() as registry:
            return registry.register(self.settings.name, self.run_id, model, example, tags)

    def registered(self, weights: str, after: int) -> int:
        """A version later than `after` that this run has made of these weights; 0: none.

        Raises:
            UserError: the tracker does not answer.
        """
        with self._told_registry() as registry:
            return registry.made(self.settings.name, self.run_id, weights, after)

    def point_alias(self, version: int) -> None:
        """Let the alias point to this version.

        Raises:
            UserError: the tracker does not answer.
        """
        with self._told_registry() as registry:
            registry.point_alias(self.settings.name, self.settings.tracking.alias, version)

    @contextmanager
    def registry(self) -> Generator[Registry]:
        """The registry of the tracking store.

        Raises:
            AwayError: it does not answer.
        """
        try:
            yield Registry(self.settings.tracking_uri)
        except UserError:
            raise
        except Exception as error:
            if fact := reach.away(self.settings.tracking_uri):
                raise AwayError(f"{fact} {error}") from error
            raise

    @contextmanager
    def _told_registry(self) -> Generator[Registry]:
        """The registry, once the tracker was told everything: a model has a run."""
        until, left = time.monotonic() + REGISTER_SECONDS, Untold.of(self.layout)
        while left:
            self.refuse_away()
            time.sleep(0.2)
            if (now := Untold.of(self.layout)) != left:
                until, left = time.monotonic() + REGISTER_SECONDS, now
            if left and time.monotonic() > until:
                raise UserError(
                    f"{self.settings.tracking_uri} answers, but takes nothing: {left} wait in "
                    f"{self.layout.folder}. The model is trained and evaluated; see what the server says, "
                    f"and run the same command again."
                )
        try:
            yield Registry(self.settings.tracking_uri)
        except Exception:
            self.refuse_away()
            raise

    def _begin(self) -> None:
        """Write what is not in the journal yet of what was before: the run, the sharding, a killed stage."""
        events = lines.read(self.layout.journal)[0]
        there = {event["id"] for event in events}
        if not any(event["kind"] == "run" for event in events):
            self._new_run()
        for kind, facts in (*self._sharding(), *history.killed(events, self.layout.points)):
            if facts["id"] not in there:
                journal.write(self.layout, kind, **facts)

    def _new_run(self) -> None:
        """The run with its settings and its run file as they are now, whenever it is told."""
        settings, run_file = self.settings, Path(self.settings.run_file)
        journal.write(
            self.layout,
            "run",
            experiment=settings.name,
            name=f"{settings.root.name}-{self.layout.folder.name}",
            params=as_params(settings.placed()),
            about=about(settings, self.layout, command("run", settings)),
            files={run_file.name: run_file.read_text(errors="replace")} if settings.run_file else {},
        )

    def _sharding(self) -> list[Event]:
        """The stage before the training had a journal."""
        if not self.layout.sharding.exists():
            return []
        data = self.layout.sharding.read_bytes()
        times, stage = json.loads(data), journal.once("begun", data)
        seconds = times["ended"] - times["began"]
        end = {"id": journal.once("ended", data), "of": stage, "status": "FINISHED", "seconds": seconds}
        return [
            ("begun", {"id": stage, "stage": "shard", "time": times["began"], "tags": times.get("tags", {})}),
            ("ended", {**end, "time": times["ended"]}),
        ]

    def _end(self, stage: str, began: float, status: str) -> None:
        journal.write(self.layout, "ended", of=stage, status=status, seconds=time.monotonic() - began)
        events = lines.read(self.layout.journal)[0]
        what = next((event.get("about", "") for event in events if event["kind"] == "run"), "")
        self.tag({NOTE: f"{what}\n{history.table(events)}"})


def refuse_absent(settings: RunSettings) -> None:
    """Refuse a tracking store that does not answer and never did: its name is likely to be misspelt.

    Raises:
        UserError: names the ways out.
    """
    uri = settings.tracking_uri
    if not reach.is_server(uri):
        reach.refuse_scheme(uri)
    elif settings.tracking.absent == "refuse" and not _answered(settings):
        reach.check(
            uri, another=" With --tracking.absent spool the run begins all the same and tells it later."
        )


def _answered(settings: RunSettings) -> bool:
    """Whether this store has a run of this workspace."""
    records = (RunRecord.read(path) for path in (settings.root / "trainings").glob("*/run.json"))
    return any(record.run_id and record.uri == settings.tracking_uri for record in records)


def tell_rest(settings: RunSettings) -> Untold:
    """Tell what is left of all trainings of the workspace; what then is still left.

    Raises:
        AwayError: the tracking store does not answer.
    """
    layouts = [
        Layout.named(settings, folder.name) for folder in sorted((settings.root / "trainings").glob("*/"))
    ]
    for layout in layouts:
        if Untold.of(layout):
            reach.check(settings.tracking_uri)
            teller = Tracker(settings=settings, layout=layout).teller()
            if complaint := Errand(teller, settings.tracking_uri).tell():
                raise AwayError(f"{complaint} {Untold.of(layout)} are kept in {layout.folder}.")
    return sum((Untold.of(layout) for layout in layouts), Untold(0, 0))


def command(word: str, settings: RunSettings) -> str:
    """The command line of `perceiver word` on this run; the options that name its places are repeated."""
    options = ["--tracking.uri", settings.tracking.uri] if settings.tracking.uri else []
    run_file = settings.run_file or "RUN.toml"
    return shlex.join(["perceiver", word, run_file, "--workspace", settings.workspace, *options])
