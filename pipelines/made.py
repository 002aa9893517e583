"""What a run has made so far, as it lies on the disk."""

from dataclasses import dataclass
from functools import cached_property

from pipelines.artifacts import ModelVersion, Promotion, Report, Trained
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from preprocessing.shards import Shards


@dataclass(frozen=True)
class Made:
    """The artifacts of a workspace; each is read when it is asked for."""

    settings: RunSettings

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
