"""What a run has made so far, as it lies on the disk."""

import json
from dataclasses import dataclass
from functools import cached_property

from pipelines.artifacts import ModelVersion, Promotion, Report, Trained
from pipelines.layout import Layout, changes
from pipelines.settings import RunSettings
from preprocessing.shards import Shards


@dataclass(frozen=True)
class Made:
    """The artifacts of a workspace; each is read when it is asked for."""

    settings: RunSettings
    renew: bool = False
    """Whether a training that began with other settings is left, and a new one begun beside it."""

    @cached_property
    def shards(self) -> Shards:
        """The newest version of the shards, as it was when it was first asked for.

        Raises:
            UserError: there is none.
        """
        return Shards.open(self.settings.shards)

    @property
    def layout(self) -> Layout:
        """Where the newest training on these shards lies."""
        return Layout.of(self.settings, self.shards.digest)

    @property
    def changes(self) -> dict[str, tuple[str, str]]:
        """Settings that are not those which the newest training on these shards began with: before, now."""
        run = self.layout.run
        return changes(json.loads(run.read_bytes())["settings"], self.settings) if run.exists() else {}

    @property
    def trained(self) -> Trained | None:
        """The finished training."""
        return Trained.open(self.layout.trained)

    @property
    def report(self) -> Report | None:
        """The evaluation, which may be one of older weights."""
        return Report.open(self.layout.report)

    @property
    def version(self) -> ModelVersion | None:
        """The registered model, which may be one of older weights."""
        return ModelVersion.open(self.layout.version)

    @property
    def promotion(self) -> Promotion | None:
        """What the gate said, perhaps of another version."""
        return Promotion.open(self.layout.promotion)
