"""What holds for every stage: one writer, one seal, another try for what goes away by itself."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from cluster.mistake import AwayError, UserError
from pipelines.artifacts import Artifact, ModelVersion, Report, Trained
from pipelines.attempts import Attempts, OvertakenError
from pipelines.layout import Layout
from pipelines.lease import HeldError
from pipelines.made import Made
from pipelines.outlook import why_evaluate, why_register
from pipelines.settings import RunSettings
from pipelines.stages import NAMES, STAGES, Stage, Task
from pipelines.stopping import LostError
from pipelines.tracking import lines
from pipelines.tracking.tracker import Tracker
from pipelines.workflow import Work, at_work
from preprocessing.shards import Shards

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


def report(shards: Shards) -> Report:
    return Report(
        weights="a" * 64,
        shards=shards.digest,
        samples=3,
        metrics={"test/accuracy": 1.0},
        classes={},
        pictures={},
    )


def trained(shards: Shards) -> Trained:
    return Trained(
        checkpoint="step-1",
        weights="b" * 64,
        run_id="",
        shards=shards.digest,
        step=1,
        samples_seen=1,
        settings={},
    )


def stage(make: Callable[[Task, Tracker], Artifact]) -> Stage:
    """The evaluation, by other means."""
    return replace(STAGES[2], make=make, words=lambda made: "done")


def failing(shards: Shards, *errors: Exception) -> Stage:
    """Fails with these, one after the other, and then does not."""
    left = list(errors)

    def make(task: Task, tracker: Tracker) -> Report:
        if left:
            raise left.pop(0)
        return report(shards)

    return stage(make)


@pytest.fixture
def impatient(settings: RunSettings) -> RunSettings:
    return replace(settings, cluster=replace(settings.cluster, stage_retries=2))


def at_once(work: Work) -> Work:
    """With pauses that nobody has to wait for."""
    return replace(work, first_pause=0.01)


def test_what_a_stage_makes_is_sealed_and_its_history_told(settings: RunSettings, shards: Shards) -> None:
    with at_work(settings) as work:
        ran = work.perform(failing(shards), "it is wanted")

    layout = Layout.of(settings, shards.digest)
    assert ran
    assert Made(settings).report == report(shards)
    begun = [event for event in lines.read(layout.journal)[0] if event["kind"] == "begun"]
    assert [(one["stage"], one["tags"]) for one in begun] == [
        ("evaluate", {"attempt": "1", "reason": "it is wanted", "lease": "1"})
    ]


def test_who_was_overtaken_meanwhile_seals_nothing_and_says_so(settings: RunSettings, shards: Shards) -> None:
    def overtaken(task: Task, tracker: Tracker) -> Report:
        Attempts(task.held.home).claim()
        return report(shards)

    with pytest.raises(OvertakenError, match="has taken over"), at_work(settings) as work:
        work.perform(stage(overtaken), "it is wanted")

    assert Made(settings).report is None


@pytest.mark.slow
def test_what_went_wrong_after_one_was_overtaken_is_not_what_is_said(
    settings: RunSettings, shards: Shards
) -> None:
    def overtaken(task: Task, tracker: Tracker) -> Report:
        Attempts(task.held.home).claim()
        raise UserError("Attempt 2 at this training has begun")

    with pytest.raises(OvertakenError, match="has taken over"), at_work(settings) as work:
        work.perform(stage(overtaken), "it is wanted")


def test_two_at_once_are_refused_before_anything_is_touched(settings: RunSettings) -> None:
    with at_work(settings):
        before = {path for path in settings.root.rglob("*") if "holder" not in path.name}

        with pytest.raises(HeldError, match=f"process {os.getpid()} on"), at_work(settings):
            pass

        assert {path for path in settings.root.rglob("*") if "holder" not in path.name} == before


@pytest.mark.slow
@pytest.mark.parametrize("error", [AwayError("the bucket is away"), LostError("ranks were lost")])
def test_what_goes_away_by_itself_is_tried_again_in_words(
    impatient: RunSettings, shards: Shards, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with at_work(impatient) as work:
        at_once(work).perform(failing(shards, error, error), "it is wanted")

    said = capsys.readouterr().err
    assert f"evaluate: {error}\nevaluate: it is tried again in 0 s (1 of 2)" in said
    assert "(2 of 2)" in said
    begun = [event for event in lines.read(Made(impatient).layout.journal)[0] if event["kind"] == "begun"]
    assert [one["tags"]["attempt"] for one in begun] == ["1", "2", "3"]


@pytest.mark.slow
def test_patience_ends_and_a_mistake_gets_none(impatient: RunSettings, shards: Shards) -> None:
    away = AwayError("the bucket is away")

    with at_work(impatient) as work:
        with pytest.raises(AwayError):
            at_once(work).perform(failing(shards, away, away, away), "it is wanted")
        with pytest.raises(UserError, match="your mistake"):
            at_once(work).perform(failing(shards, UserError("your mistake")), "it is wanted")

    assert Made(impatient).report is None


@pytest.mark.slow
def test_a_forced_stage_says_so_and_one_that_has_a_reason_needs_no_force(
    settings: RunSettings, shards: Shards, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[bool] = []

    def make(task: Task, tracker: Tracker) -> Report:
        seen.append(task.forced)
        return report(shards)

    with at_work(settings) as work:
        assert not work.perform(stage(make), "")
        work.perform(stage(make), "", forced=True)
        work.perform(stage(make), "its input is newer", forced=True)

    assert seen == [True, False]
    assert "evaluate: it is asked for with --force\n" in capsys.readouterr().err


def test_a_training_begun_anew_lies_beside_the_one_before_and_is_the_one_that_counts(
    settings: RunSettings, shards: Shards
) -> None:
    train = STAGES[1]
    assert train.anew is not None
    made = Made(settings)
    first = made.layout
    assert train.anew(made) == "", "there is nothing to leave"
    first.folder.mkdir(parents=True)
    (first.folder / "points.jsonl").write_text("kept\n")

    said = [train.anew(made) for _ in range(2)]

    assert first.folder.name == shards.digest[:12]
    assert made.layout.folder.name == f"{shards.digest[:12]}-3"
    assert made.layout.checkpoints.endswith(f"{shards.digest[:12]}-3/checkpoints")
    assert str(first.folder) in said[0]
    assert f"{first.folder}-2" in said[1]
    assert (first.folder / "points.jsonl").read_text() == "kept\n"


def test_other_settings_are_refused_or_begin_a_training_beside_the_one_before(
    settings: RunSettings, shards: Shards, capsys: pytest.CaptureFixture[str]
) -> None:
    before, other = Made(settings).layout, replace(settings, seed=7)
    begun: list[Layout] = []

    def make(task: Task, tracker: Tracker) -> Artifact:
        begun.append(task.made.layout)
        return trained(shards)

    train = replace(STAGES[1], make=make, words=lambda made: "done")
    with at_work(settings) as work:
        work.perform(train)
        with pytest.raises(UserError, match=r"seed: began with 0, now 7(.|\n)*--renew"):
            replace(work, settings=other).perform(train)
        renewing = replace(work, settings=other, renew=True)
        renewing.perform(train)

    assert [one.folder.name for one in begun] == [before.folder.name, f"{before.folder.name}-2"]
    assert f"train: seed is 7 now, it was 0; the training before it stays in {before.folder}" in (
        capsys.readouterr().err
    )
    assert Made(other).changes == {}, "the same settings go on with it"
    assert Made(settings).changes == {"seed": ("7", "0")}


def test_reasons_name_which_artifact_is_of_older_weights(settings: RunSettings, shards: Shards) -> None:
    made = Made(settings)
    trained(shards).seal(made.layout.trained)
    report(shards).seal(made.layout.report)
    ModelVersion(
        model="columns",
        version=4,
        alias="candidate",
        weights="a" * 64,
        metrics={},
        run_id="",
        tracking_uri="",
    ).seal(made.layout.version)

    assert why_evaluate(made) == "the weights are newer than the report: aaaaaaaaaaaa there, bbbbbbbbbbbb now"
    assert why_register(made) == "version 4 holds older weights: aaaaaaaaaaaa there, bbbbbbbbbbbb now"


def test_every_stage_has_a_noun_and_a_seal_of_its_own(settings: RunSettings) -> None:
    layout = Layout.of(settings, "0123456789abcdef")
    places = [stage.place(layout) for stage in STAGES if stage.make]

    assert NAMES[:4] == ("shard", "train", "evaluate", "register")
    assert len({stage.noun for stage in STAGES}) == len(STAGES)
    assert len(set(places)) == len(places)
