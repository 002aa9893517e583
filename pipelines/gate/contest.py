"""The candidate's answers beside the champion's, and what the gate says of them.

A champion that cannot read these samples is no reason to fail: the candidate is refused, with the way out.
"""

import hashlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cluster.mistake import UserError
from pipelines.artifacts import ModelVersion, Trained
from pipelines.gate.decision import Decision, decide, right
from pipelines.gate.page import Discordant, Page
from pipelines.gate.rivals import Described, aligned, all_classes, misfit, widened
from pipelines.layout import Layout
from pipelines.models.classifier import DESCRIPTION, WEIGHTS, Classifier
from pipelines.models.predicting import probabilities
from pipelines.pictures.captions import caption
from pipelines.progress import Advance
from pipelines.settings import RunSettings
from pipelines.tracking.mlflow_champion import Champions
from pipelines.training.checkpoints import Checkpoints
from preprocessing.cache import Cache
from preprocessing.reading import Reader
from preprocessing.shards import Shards

SPLIT = "test"
SHOWN = 50
"""Samples on the page that only one of the two has right, of each kind."""


@dataclass(frozen=True)
class Verdict:
    """What came of one comparison."""

    champion: int
    """0: none."""
    promoted: bool
    reason: str
    evidence: Mapping[str, str]
    page: Path | None


@dataclass(frozen=True)
class Contest:
    """The candidate, with its answers kept from one comparison to the next."""

    settings: RunSettings
    trained: Trained
    version: ModelVersion
    shards: Shards
    advance: Advance

    def against(self, champions: Champions, champion: int) -> Verdict:
        """Compare with this version; 0: with guessing."""
        if not champion:
            return self._judged(0, None, None)
        folder = self._layout.champion
        try:
            return self._with_weights(champions, champion, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    @property
    def _layout(self) -> Layout:
        return Layout.of(self.settings, self.shards.digest)

    def _with_weights(self, champions: Champions, champion: int, folder: Path) -> Verdict:
        theirs = self._fetched(champions, champion, folder)
        described, checkpoint = Described.read(theirs / DESCRIPTION), self._checkpoint()
        why = misfit(described, Described.read(checkpoint / DESCRIPTION)) or self._trial(theirs)
        if why:
            return self._unfit(champion, why)
        return self._judged(champion, self._answers(theirs), described)

    def _fetched(self, champions: Champions, champion: int, folder: Path) -> Path:
        """The champion's files. That they do not come may pass, so it is no decision.

        Raises:
            UserError: they do not, or are damaged.
        """
        known = champions.tags(champion).get("weights", "")
        try:
            theirs = champions.artifacts(champion, folder)
            with (theirs / WEIGHTS).open("rb") as file:
                damaged = known not in ("", hashlib.file_digest(file, "sha256").hexdigest())
            why = "its weights are not those that were registered" if damaged else ""
        except OSError as error:
            theirs, why = folder, str(error)
        if why:
            raise UserError(
                f"{self.version.model} version {champion} is {champions.alias}, and cannot be fetched to be "
                f"compared with: {why}. Run the same command again when its store answers, or replace it "
                f"without comparing: {self._force} --tracking.uri {champions.uri}"
            )
        return theirs

    @property
    def _force(self) -> str:
        return f"perceiver promote {self.version.model}/{self.version.version} --force --reason TEXT"

    def _trial(self, folder: Path) -> str:
        """What the champion itself says to one sample; nothing where it answers."""
        (sample,) = Reader(self.shards, SPLIT, Cache.of(self.settings.data)).read([0])
        try:
            Classifier.load(folder / DESCRIPTION, folder / WEIGHTS).probabilities([sample])
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            return f"it cannot read these samples ({' '.join(str(error).split())[:300]})"
        return ""

    def _unfit(self, champion: int, why: str) -> Verdict:
        model, alias = self.version.model, self.settings.gate.champion
        reason = (
            f"{model} version {champion} ({alias}) cannot be compared on this test split: {why}. To replace "
            f"it all the same: {self._force}"
        )
        facts = {
            "gate.decision": "refused", "gate.reason": reason, "gate.champion": str(champion),
            "gate.samples": str(self.shards.counts[SPLIT]), "gate.alias": alias,
        }  # fmt: skip
        return Verdict(champion, False, reason, facts, None)

    def _judged(
        self, champion: int, theirs: NDArray[np.float32] | None, described: Described | None
    ) -> Verdict:
        union = all_classes(self.shards.classes, described.classes if described else ())
        reader = Reader(self.shards, SPLIT, Cache.of(self.settings.data))
        labels, ours = widened(reader.labels, union), aligned(self._ours, self.shards.classes, union)
        if theirs is not None and described is not None:
            theirs = aligned(theirs, described.classes, union)
        decision = decide(labels, ours, theirs, union, self.settings.gate)
        shown = () if theirs is None else _discordant(reader.sources, labels, ours, theirs, union)
        against = f"version {champion}" if champion else "guessing the most frequent class"
        title = f"{self.version.model} version {self.version.version}"
        rival = "champion" if champion else "guess"
        page = Page(title, against, decision, shown, rival).write(self._layout.gate_report)
        evidence = _evidence(decision, champion, self.settings.gate.champion)
        return Verdict(champion, decision.promoted, decision.reason, evidence, page)

    @cached_property
    def _ours(self) -> NDArray[np.float32]:
        return self._answers(self._checkpoint())

    def _checkpoint(self) -> Path:
        checkpoints = Checkpoints.at(self._layout.checkpoints)
        return checkpoints.fetched(checkpoints.open(self.trained.checkpoint), self._layout.fetched)

    def _answers(self, folder: Path) -> NDArray[np.float32]:
        return probabilities(
            self.settings, self.shards, SPLIT, folder / DESCRIPTION, folder / WEIGHTS, self.advance
        )


def _evidence(decision: Decision, champion: int, alias: str) -> dict[str, str]:
    """The tags of the model version."""
    return {
        "gate.decision": "promoted" if decision.promoted else "refused",
        "gate.reason": decision.reason,
        "gate.alias": alias,
        "gate.champion": str(champion) if champion else "none",
        "gate.metric": decision.metric,
        "gate.difference": f"{decision.difference:+.6f}",
        "gate.interval": f"{decision.low:+.6f} to {decision.high:+.6f} ({100 * decision.confidence:g} %)",
        "gate.p": "none" if decision.p is None else f"{decision.p:.6g}",
        "gate.samples": str(decision.samples),
        "gate.discordant": f"{decision.won} won, {decision.lost} lost",
    }


def _discordant(
    sources: list[str], labels: NDArray[Any], ours: NDArray[Any], theirs: NDArray[Any],
    names: tuple[str, ...],
) -> list[Discordant]:  # fmt: skip
    """Some samples that one model alone has right, those that the candidate lost first."""
    good, other = right(labels, ours), right(labels, theirs)
    lost, won = np.flatnonzero(other & ~good)[:SHOWN], np.flatnonzero(good & ~other)[:SHOWN]
    return [
        Discordant(
            sources[row], caption(labels[row], names), names[ours[row].argmax()],
            names[theirs[row].argmax()], bool(good[row]),
        )
        for row in (*lost, *won)
    ]  # fmt: skip
