"""Where the things of one training lie in the workspace, and which settings they were made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.mistake import UserError
from cluster.storage import absolute
from pipelines.settings import RunSettings, as_params
from preprocessing.settings import DataSettings

FREE = (
    "name", "workspace", "checkpoints", "run_file", "cluster.", "tracking.", "gate.", "data.raw",
    "data.shards", "data.labels", "data.max_", "data.cache", "data.verify_content", "data.decoder_",
    "train.epochs", "train.steps", "train.save_every", "train.evaluate_every", "train.microbatch",
    "model.attention", "train.recompute", "train.warm_start",
)  # fmt: skip
"""Settings that may differ when a training goes on: they do not change what it has learnt so far (how it is
computed changes rounding), or the digest of the shards answers for them."""


@dataclass(frozen=True)
class Layout:
    """Paths of one training. There is one folder per state of the shards: new data is a new training.

    A training that is begun anew on the same data gets the same name and a number; the newest counts.
    """

    folder: Path
    checkpoints: str
    """Place of the checkpoints, a folder or a bucket's prefix."""

    @classmethod
    def of(cls, settings: RunSettings, digest: str) -> "Layout":
        """The layout of the newest training on the shards with this digest."""
        name = digest[:12]
        number = _newest(settings.root / "trainings", name)
        return cls.named(settings, f"{name}-{number}" if number > 1 else name)

    @classmethod
    def named(cls, settings: RunSettings, name: str) -> "Layout":
        """The layout of the training whose folder has this name."""
        folder = settings.root / "trainings" / name
        place = f"{absolute(settings.checkpoints)}/{name}" if settings.checkpoints else str(folder)
        return cls(folder, f"{place}/checkpoints")

    def next(self) -> Path:
        """The folder of a training that would be begun anew on the same data."""
        name = self.folder.name.partition("-")[0]
        return self.folder.with_name(f"{name}-{_newest(self.folder.parent, name) + 1}")

    @property
    def sharding(self) -> Path:
        """When the shards were made, for the run that is yet to be."""
        return self.folder / "sharding.json"

    @property
    def run(self) -> Path:
        """Which MLflow run this is, once it is made, and the settings that the training began with."""
        return self.folder / "run.json"

    @property
    def contact_sheet(self) -> Path:
        """Some samples of the shards, as a picture."""
        return self.folder / "contact-sheet.png"

    @property
    def fetched(self) -> Path:
        """Copies of checkpoints that lie in a bucket."""
        return self.folder / "fetched"

    @property
    def points(self) -> Path:
        """The points of the training's curves."""
        return self.folder / "points.jsonl"

    @property
    def attempts(self) -> Path:
        """Folder of what each attempt came to."""
        return self.folder / "attempts"

    @property
    def journal(self) -> Path:
        """All else that the tracker is told of this training, in order."""
        return self.folder / "journal.jsonl"

    @property
    def told(self) -> Path:
        """What of the journal and the points the tracker was told."""
        return self.folder / "told.jsonl"

    @property
    def teller(self) -> Path:
        """Locked by the process that tells the tracker, whose name is in it."""
        return self.folder / "teller.lock"

    @property
    def warm_start(self) -> Path:
        """The sealed `WarmStart`, beside the weights that the training began with."""
        return self.folder / "warm-start" / "warm-start.json"

    @property
    def trained(self) -> Path:
        """The sealed `Trained`."""
        return self.folder / "trained.json"

    @property
    def report(self) -> Path:
        """The sealed `Report`."""
        return self.folder / "report.json"

    @property
    def version(self) -> Path:
        """The sealed `ModelVersion`."""
        return self.folder / "version.json"

    @property
    def promotion(self) -> Path:
        """The sealed `Promotion`."""
        return self.folder / "promotion.json"

    @property
    def gate_report(self) -> Path:
        """The candidate beside the champion, as a page."""
        return self.folder / "report.html"

    @property
    def champion(self) -> Path:
        """Folder for the champion's weights while it is compared with."""
        return self.folder / "champion"


def _newest(trainings: Path, name: str) -> int:
    """How often a training was begun on the same data."""
    numbers = (one.name.partition("-")[2] for one in trainings.glob(f"{name}-*"))
    return max((int(number) for number in numbers if number.isdigit()), default=1)


def binding(settings: RunSettings) -> dict[str, str]:
    """The settings that a training cannot change once it began, under their dotted names."""
    return {name: value for name, value in as_params(settings).items() if not name.startswith(FREE)}


def refuse_other(record: Mapping[str, Any], settings: RunSettings, digest: str, layout: Layout) -> None:
    """Refuse a checkpoint that is not of this training.

    Raises:
        UserError: it was made with other settings, or on other shards.
    """
    refuse_change(record["settings"], settings)
    if record["shards"] != digest:
        raise UserError(
            f"The checkpoints in {layout.checkpoints} were made on the shards {record['shards'][:12]}, not "
            f"on {digest[:12]}. Name another place with checkpoints."
        )


def changes(began_with: Mapping[str, str], settings: RunSettings) -> dict[str, tuple[str, str]]:
    """The binding settings that differ: what the training began with, and what they are now."""
    now = binding(settings)
    usual = binding(RunSettings(name=settings.name, data=DataSettings(raw=settings.data.raw)))
    # A run that began before a setting was there, began with its default.
    began_with = {**usual, **{name: value for name, value in began_with.items() if not name.startswith(FREE)}}
    return {
        name: (began_with.get(name, "nothing"), now.get(name, "nothing"))
        for name in sorted({**now, **began_with})
        if now.get(name) != began_with.get(name)
    }


def refuse_change(began_with: Mapping[str, str], settings: RunSettings) -> None:
    """Refuse to go on with other settings than the training began with.

    Raises:
        UserError: names each setting that differs, with both values.
    """
    refuse(changes(began_with, settings), settings)


def refuse(found: Mapping[str, tuple[str, str]], settings: RunSettings) -> None:
    """Refuse these changes, if there are any.

    Raises:
        UserError: as above.
    """
    if found:
        rows = "\n".join(f"  {name}: began with {before}, now {now}" for name, (before, now) in found.items())
        raise UserError(
            f"The workspace {settings.workspace} holds a run with other settings:\n{rows}\n"
            f"Give these back, or begin a new training beside that one with `perceiver run --renew`, or name "
            f"another --workspace (with --data.shards {settings.shards} it uses the same shards)."
        )
