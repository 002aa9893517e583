"""The stage behind registering: the candidate against the champion on the same test samples.

Its decision with all evidence becomes tags of the model version and a page of the run. A candidate that
passes becomes champion by a compare-and-set: if the champion is no longer the one that was compared with,
it is compared anew. So nothing becomes champion that was not compared with the one it replaces.
"""

from collections.abc import Callable
from dataclasses import asdict

from cluster.mistake import UserError
from pipelines.artifacts import ModelVersion, Promotion
from pipelines.gate.contest import Contest, Verdict
from pipelines.progress import say
from pipelines.settings import RunSettings
from pipelines.tracking.mlflow_champion import Champions
from pipelines.tracking.tracker import Tracker

ROUNDS = 5
"""Comparisons at most: one more whenever the champion is replaced meanwhile."""


def promote(contest: Contest, tracker: Tracker, check: Callable[[], None]) -> Promotion:
    """Judge the version, and let the champion's alias point to it if it passes.

    `check` raises where another process has taken over. Ray must be initialised.
    """
    settings, version = contest.settings, contest.version
    champions = Champions(settings.tracking_uri, version.model, settings.gate.champion)
    for _ in range(ROUNDS):
        champion = champions.now()
        if champion == version.version:
            return _already(champions, settings, version)
        verdict = contest.against(champions, champion)
        check()
        champions.set_tags(version.version, {**verdict.evidence})
        if verdict.page:
            tracker.picture(verdict.page)
        moving = verdict.promoted and settings.gate.automatic
        if not moving or champions.move(
            version.version, expected=champion, how="promoted", why=verdict.reason, check=check
        ):
            return _promotion(settings, version, verdict, moved=moving)
        say(f"promote: {champions.alias} was moved meanwhile; comparing anew")
    raise UserError(
        f"{version.model}@{champions.alias} was moved {ROUNDS} times while version {version.version} was "
        f"compared with it. Find out who moves it (`perceiver lineage {version.model}@{champions.alias}`), "
        f"then run the same command again."
    )


def _already(champions: Champions, settings: RunSettings, version: ModelVersion) -> Promotion:
    """What its tags say of a version that is champion: a kill came between the alias and the seal, or a
    person has moved it."""
    tags, moves = champions.tags(version.version), champions.moves()
    evidence = {name: value for name, value in tags.items() if name.startswith("gate.")}
    passed = tags.get("gate.decision") == "promoted"
    before = int(tags["gate.champion"]) if tags.get("gate.champion", "").isdigit() else 0
    if passed and (not moves or moves[-1].version != version.version):
        champions.note(version.version, replaced=before, how="promoted", why=tags["gate.reason"])
    reason = tags.get("gate.reason", "") if passed else "it is champion already: a person has moved the alias"
    verdict = Verdict(before, passed, reason, evidence, None)
    return _promotion(settings, version, verdict, moved=True)


def _promotion(settings: RunSettings, version: ModelVersion, verdict: Verdict, *, moved: bool) -> Promotion:
    return Promotion(
        model=version.model, version=version.version, champion=verdict.champion, promoted=verdict.promoted,
        moved=moved, reason=verdict.reason, gate=gate_of(settings), evidence=dict(verdict.evidence),
        page=str(verdict.page or ""),
    )  # fmt: skip


def gate_of(settings: RunSettings) -> dict[str, str]:
    """The gate's settings, as text."""
    return {name: str(value) for name, value in asdict(settings.gate).items()}
