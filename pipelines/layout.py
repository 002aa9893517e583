"""Where the things of one training lie in the workspace, and which settings they were made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cluster.mistake import UserError
from pipelines.settings import RunSettings, as_params
from preprocessing.settings import DataSettings

FREE = (
    "name", "workspace", "run_file", "cluster.", "tracking.", "data.raw", "data.shards",
    "data.labels", "data.max_", "data.cache", "data.verify_content", "data.decoder_", "train.epochs", "train.steps", "train.save_every", "train.evaluate_every",
    "model.attention", "train.recompute",
)  # fmt: skip
"""Settings that may differ when a training goes on: they do not change what it has learnt so far (how it is
computed changes rounding), or the digest of the shards answers for them."""


@dataclass(frozen=True)
class Layout:
    """Paths of one training. There is one folder per state of the shards: new data is a new training."""

    folder: Path

    @classmethod
    def of(cls, settings: RunSettings, digest: str) -> "Layout":
        """The layout of the training on the shards with this digest."""
        return cls(settings.root / "trainings" / digest[:12])

    @property
    def sharding(self) -> Path:
        """When the shards were made, for the run that is yet to be."""
        return self.folder / "sharding.json"

    @property
    def run(self) -> Path:
        """Which MLflow run this is, and the settings that it began with."""
        return self.folder / "run.json"

    @property
    def contact_sheet(self) -> Path:
        """Some samples of the shards, as a picture."""
        return self.folder / "contact-sheet.png"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def points(self) -> Path:
        """The points of the training's curves."""
        return self.folder / "points.jsonl"

    @property
    def refusal(self) -> Path:
        """Why a rank refused to go on, for the process that started it."""
        return self.folder / "refusal.txt"

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


def binding(settings: RunSettings) -> dict[str, str]:
    """The settings that a training cannot change once it began, under their dotted names."""
    return {name: value for name, value in as_params(settings).items() if not name.startswith(FREE)}


def refuse_change(began_with: Mapping[str, str], settings: RunSettings, layout: Layout) -> None:
    """Refuse to go on with other settings than the training began with.

    Raises:
        UserError: names each setting that differs, with both values.
    """
    now = binding(settings)
    usual = binding(RunSettings(name=settings.name, data=DataSettings(raw=settings.data.raw)))
    # A run that began before a setting was there, began with its default.
    began_with = {**usual, **{name: value for name, value in began_with.items() if not name.startswith(FREE)}}
    differing = sorted(name for name in {**now, **began_with} if now.get(name) != began_with.get(name))
    if differing:
        rows = "\n".join(
            f"  {name}: began with {began_with.get(name, 'nothing')}, now {now.get(name, 'nothing')}"
            for name in differing
        )
        raise UserError(
            f"The workspace {settings.workspace} holds a run with other settings:\n{rows}\n"
            f"Give these back, or name another --workspace (with --data.shards {settings.shards} it uses "
            f"the same shards), or delete {layout.folder} to forget that run."
        )
