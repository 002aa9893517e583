"""Promotion against a real registry: trained models are compared, and the champion's alias moves or stays.

Trainings in this process, one of 60 steps and others that learnt nothing, are registered as in a run.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
import pytest
from small_runs import draw_pictures

from cluster.mistake import UserError
from cluster.settings import ClusterSettings
from perceiver.settings import ModelSettings
from perceiver.train_settings import TrainSettings
from pipelines import workflow
from pipelines.artifacts import ModelVersion, Promotion, Report, Trained
from pipelines.attempts import OvertakenError
from pipelines.gate.contest import Contest
from pipelines.gate.promoting import promote
from pipelines.gate.settings import GateSettings
from pipelines.layout import Layout, binding
from pipelines.lease import lease
from pipelines.registering import register
from pipelines.registry import commands as registry_commands
from pipelines.registry.options import LineageOptions, PromoteOptions, RollbackOptions
from pipelines.settings import RunSettings
from pipelines.tracking.mlflow_champion import Champions
from pipelines.tracking.store_options import StoreOptions
from pipelines.tracking.tracker import Tracker
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import loop
from pipelines.training.outside import Outside
from preprocessing.job import shard_with
from preprocessing.settings import DataSettings, ImageSettings
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.usefixtures("ray_session"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

ALIAS = "champion"


@dataclass(frozen=True)
class Entrant:
    """A registered version, with what its workspace holds."""

    settings: RunSettings
    trained: Trained
    version: ModelVersion
    shards: Shards

    @property
    def champions(self) -> Champions:
        return Champions(self.settings.tracking_uri, self.version.model, ALIAS)

    @property
    def layout(self) -> Layout:
        return Layout.of(self.settings, self.shards.digest)

    @property
    def tags(self) -> dict[str, str]:
        return self.champions.tags(self.version.version)

    def contest(self, advance: Callable[..., None] = lambda *_: None, **gate: Any) -> Contest:
        settings = replace(self.settings, gate=GateSettings(**gate))
        return Contest(settings, self.trained, self.version, self.shards, advance)

    def judged(self, check: Callable[[], None] = lambda: None, **gate: Any) -> Promotion:
        """What the stage makes of it."""
        tracker = Tracker.open(self.settings, self.layout)
        with tracker.stage("promote"):
            return promote(self.contest(**gate), tracker, check)


def entrant(folder: Path, name: str, steps: int, *, seed: int = 0, size: int = 8) -> Entrant:
    """Sharded, trained and registered in the store that all of them share."""
    settings = RunSettings(
        name="columns", workspace=str(folder / name), seed=seed,
        data=DataSettings(
            raw=str(folder / "raw"), modalities=("image",), val=0.05, test=0.4,
            image=ImageSettings(size=size), shards=str(folder / f"shards-{size}"),
        ),
        model=ModelSettings(latents=4, width=16, heads=2, blocks=2, layers=1, bands=2),
        train=TrainSettings(
            steps=steps, batch=12, rate=1e-2 if steps > 1 else 1e-7, save_every=60, evaluate_every=60
        ),
        cluster=ClusterSettings(cpus_per_worker=1),
    )  # fmt: skip
    settings = replace(
        settings, tracking=replace(settings.tracking, uri=f"sqlite:///{folder}/mlflow.db", alias=name)
    )
    shards = shard_with(map, settings.data, settings.shards, lambda *_: None)[0]
    loop(settings, shards.digest, Outside(publish=lambda point: None))
    layout = Layout.of(settings, shards.digest)
    checkpoint, _ = Checkpoints.at(layout.checkpoints).newest()
    assert checkpoint
    tracker = Tracker.open(settings, layout)
    with tracker.stage("register"):
        tracker.dataset(shards.place, shards.digest, shards.counts)
        trained = Trained(
            checkpoint=checkpoint.name, weights=checkpoint.weights, run_id=tracker.run_id,
            shards=shards.digest, step=steps, samples_seen=12 * steps, settings=binding(settings),
        )  # fmt: skip
        version = register(trained, report_of(trained, shards), shards, tracker, None)
        tracker.point_alias(version.version)
    trained.seal(layout.trained)
    version.seal(layout.version)
    return Entrant(settings, trained, version, shards)


def report_of(trained: Trained, shards: Shards) -> Report:
    return Report(
        weights=trained.weights, shards=shards.digest, samples=shards.counts["test"],
        metrics={"test/accuracy": 0.5}, classes={}, pictures={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Entrant]:
    """Two that read the same samples, and one whose pictures are of another size."""
    folder = tmp_path_factory.mktemp("promoting")
    draw_pictures(folder / "raw", per_class=110)
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    return {
        "poor": entrant(folder, "poor", 1, seed=2),
        "good": entrant(folder, "good", 60),
        "other": entrant(folder, "other", 1, size=6),
    }


@pytest.fixture
def good(scene: dict[str, Entrant]) -> Iterator[Entrant]:
    """The better one, in a registry without a champion or a history."""
    _clear(scene["good"].champions)
    return scene["good"]


@pytest.fixture
def poor(scene: dict[str, Entrant], good: Entrant) -> Entrant:
    return scene["poor"]


def _clear(champions: Champions) -> None:
    client = mlflow.MlflowClient(champions.uri)
    for number in range(1, 4):
        for name in client.get_model_version("columns", str(number)).tags:
            if name.startswith("gate."):
                client.delete_model_version_tag("columns", str(number), name)
    for move in champions.moves():
        client.delete_registered_model_tag("columns", f"{ALIAS}.{move.number}")
    if champions.now():
        client.delete_registered_model_alias("columns", ALIAS)


def crown(entrant: Entrant) -> None:
    """Make it champion without a word of the gate."""
    champions = entrant.champions
    assert champions.move(
        entrant.version.version, expected=champions.now(), how="forced", why="the test", check=lambda: None
    )


def test_the_first_champion_is_one_that_learnt_something(good: Entrant, poor: Entrant) -> None:
    refused, promoted = poor.judged(), good.judged()

    assert (refused.promoted, refused.moved) == (False, False)
    assert (promoted.promoted, promoted.moved, promoted.champion) == (True, True, 0)
    assert good.champions.now() == good.version.version
    (move,) = good.champions.moves()
    assert (move.version, move.replaced, move.how) == (good.version.version, 0, "promoted")
    assert "higher than that of guessing the most frequent class" in move.why


def test_a_worse_and_an_equal_candidate_are_refused_with_their_evidence(good: Entrant, poor: Entrant) -> None:
    crown(good)

    promotion = poor.judged()

    tags = poor.tags
    assert not promotion.promoted
    assert good.champions.now() == good.version.version
    assert tags["gate.decision"] == "refused"
    assert tags["gate.champion"] == str(good.version.version)
    assert float(tags["gate.difference"]) < 0
    assert tags["gate.samples"] == str(good.shards.counts["test"])
    assert {"gate.reason", "gate.interval", "gate.p"} <= set(tags)
    client = mlflow.MlflowClient(poor.settings.tracking_uri)
    assert "report.html" in {file.path for file in client.list_artifacts(poor.version.run_id)}
    assert "<h2>Where they disagree</h2>" in poor.layout.gate_report.read_text()
    assert not poor.layout.champion.exists(), "the copy of the champion is gone again"


def test_a_clearly_better_candidate_replaces_the_champion_it_was_compared_with(
    good: Entrant, poor: Entrant
) -> None:
    crown(poor)

    promotion = good.judged()

    assert (promotion.promoted, promotion.moved, promotion.champion) == (True, True, poor.version.version)
    assert good.champions.now() == good.version.version
    assert float(good.tags["gate.interval"].split()[0]) > 0
    assert good.champions.moves()[-1].replaced == poor.version.version


def test_a_better_candidate_on_too_few_samples_is_refused(good: Entrant, poor: Entrant) -> None:
    crown(poor)

    promotion = good.judged(samples=1000)

    assert not promotion.moved
    assert promotion.reason.endswith("fewer than gate.samples (1,000)")
    assert good.champions.now() == poor.version.version


def test_a_champion_that_is_replaced_meanwhile_is_compared_with_anew(good: Entrant, poor: Entrant) -> None:
    crowned: list[int] = []

    def meanwhile() -> None:
        if not crowned:
            crowned.append(1)
            crown(poor)

    promotion = good.judged(check=meanwhile)

    assert (promotion.moved, promotion.champion) == (True, poor.version.version)
    assert [move.version for move in good.champions.moves()] == [poor.version.version, good.version.version]


def test_who_was_overtaken_moves_no_alias(good: Entrant) -> None:
    def overtaken() -> None:
        raise OvertakenError("another has taken over")

    with pytest.raises(OvertakenError):
        good.judged(check=overtaken)

    assert good.champions.now() == 0


def test_a_kill_between_the_alias_and_its_history_is_made_good(good: Entrant) -> None:
    good.judged(automatic=False)
    assert good.champions.now() == 0
    mlflow.MlflowClient(good.settings.tracking_uri).set_registered_model_alias(
        "columns", ALIAS, str(good.version.version)
    )

    promotions = [good.judged(), good.judged()]

    assert [one.moved for one in promotions] == [True, True]
    assert [(move.version, move.how) for move in good.champions.moves()] == [
        (good.version.version, "promoted")
    ]


def test_a_champion_of_another_geometry_refuses_the_candidate_with_the_way_out(
    scene: dict[str, Entrant], good: Entrant
) -> None:
    crown(scene["other"])

    promotion = good.judged()

    assert (promotion.promoted, good.champions.now()) == (False, scene["other"].version.version)
    assert "it reads image of height 6, these shards hold 8" in good.tags["gate.reason"]
    assert f"perceiver promote columns/{good.version.version} --force --reason" in promotion.reason


def test_a_champion_whose_weights_are_gone_or_others_is_no_decision(good: Entrant, poor: Entrant) -> None:
    crown(poor)
    client = mlflow.MlflowClient(good.settings.tracking_uri)
    weights = client.get_model_version("columns", str(poor.version.version)).tags["weights"]
    client.set_model_version_tag("columns", str(poor.version.version), "weights", "0" * 64)

    with pytest.raises(UserError, match="its weights are not those that were registered"):
        good.judged()
    client.set_model_version_tag("columns", str(poor.version.version), "weights", weights)

    assert "gate.decision" not in good.tags
    files = Path(good.settings.tracking_uri.removeprefix("sqlite:///")).parent / "mlartifacts"
    shutil.move(files, files.with_name("away"))
    try:
        with pytest.raises(UserError, match="cannot be fetched to be compared with"):
            good.judged()
    finally:
        shutil.rmtree(files, ignore_errors=True)
        shutil.move(files.with_name("away"), files)


def test_the_stage_is_up_to_date_until_another_question_is_asked(
    good: Entrant, poor: Entrant, capsys: pytest.CaptureFixture[str]
) -> None:
    crown(good)
    few = replace(poor.settings, gate=GateSettings(samples=1))

    with lease(poor.settings.root / "lease", "the test") as held:
        words: list[str] = []
        for settings in (poor.settings, poor.settings, few):
            workflow.Work(settings, held).perform(workflow.stage_of("promote"))
            words.append(capsys.readouterr().err.splitlines()[0])

    assert words[0] == "promote: the model is not compared with the champion yet"
    assert words[1].startswith("promote: up to date, columns version 1 is not made champion")
    assert words[2] == "promote: gate.samples is 1 now, it was 100"


def test_a_person_promotes_what_passed_and_rolls_it_back(
    good: Entrant, poor: Entrant, capsys: pytest.CaptureFixture[str]
) -> None:
    crown(poor)
    good.judged(automatic=False)
    store = StoreOptions(uri=good.settings.tracking_uri)
    name = f"columns/{good.version.version}"

    _, promoted = registry_commands.promote(PromoteOptions(model=name, tracking=store))
    _, back = registry_commands.rollback(RollbackOptions(model="columns", reason="users", tracking=store))

    assert (promoted["version"], promoted["replaced"]) == (good.version.version, poor.version.version)
    assert (back["version"], back["replaced"]) == (poor.version.version, good.version.version)
    assert [move.how for move in good.champions.moves()] == ["forced", "promoted", "rolled back"]
    with pytest.raises(UserError, match=r"rolled back at .* \(users\)"):
        registry_commands.promote(PromoteOptions(model=name, tracking=store))
    with pytest.raises(UserError, match="there is none to go back to"):
        registry_commands.rollback(RollbackOptions(model="columns", reason="more", tracking=store))
    with pytest.raises(UserError, match="never was champion"):
        registry_commands.rollback(RollbackOptions(model="columns", to=3, reason="x", tracking=store))
    registry_commands.promote(PromoteOptions(model=name, force=True, reason="I know", tracking=store))
    assert good.champions.now() == good.version.version
    assert good.champions.moves()[-1].why == "I know"


def test_lineage_goes_from_the_champion_to_the_raw_files_and_back(
    good: Entrant, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good.judged()
    store = StoreOptions(uri=good.settings.tracking_uri)
    table = tmp_path / "files.parquet"

    _, found = registry_commands.lineage(
        LineageOptions(model=f"columns@{ALIAS}", files=str(table), tracking=store)
    )

    raw = Path(good.settings.data.raw)
    rows = pq.read_table(table).to_pylist()
    assert found == json.loads(json.dumps(found)) | {"aliases": found["aliases"]}
    assert (found["version"], found["weights"]) == (good.version.version, good.trained.weights)
    assert found["run"]["id"] == good.version.run_id
    assert found["shards"] == {
        "place": good.shards.place, "digest": good.shards.digest, "gone": "", "parent": "",
        "samples": good.shards.counts,
    }  # fmt: skip
    assert (found["raw"]["place"], found["raw"]["found"]) == (str(raw), 330)
    assert len(found["code"]["code.sha256"]) == 64
    assert found["settings"]["train.steps"] == "60"
    assert [move["version"] for move in found["champions"]] == [good.version.version]
    assert len(rows) == 330
    learnt = next(row["source"] for row in rows if row["split"] == "train")
    tested = next(row["source"] for row in rows if row["split"] == "test")
    copy = Path(shutil.copy(raw / learnt, tmp_path / "renamed.png"))

    def heirs(**asked: str) -> dict[int, str]:
        _, answer = registry_commands.lineage(LineageOptions(**asked, tracking=store))
        return {one["version"]: one["how"] for one in answer["versions"]}

    for name in (learnt, str(raw / learnt), str(copy)):
        assert heirs(source=name)[good.version.version] == "learnt from it"
    assert heirs(source=tested)[good.version.version] == "measured on it (test)"
    assert heirs(source="column-7/000.png") == {}
    assert heirs(shards=good.shards.place) == {1: "learnt from it", 2: "learnt from it"}
    said = capsys.readouterr().err
    assert "warm start   none" in said
    assert "    train.steps = 60\n" in said
    assert "settings are the usual ones (--json has all)" in said
    assert "lineage: no version is known to come from column-7/000.png" in said


def test_a_version_that_a_kill_left_without_its_seal_is_taken_up(scene: dict[str, Entrant]) -> None:
    good = scene["good"]
    tracker = Tracker.open(good.settings, Layout.of(good.settings, good.shards.digest))
    made = (good.trained, report_of(good.trained, good.shards), good.shards, tracker)

    with tracker.stage("register"):
        found = [register(*made, known).version for known in (None, good.version)]
        forced = [register(*made, good.version, anew=True).version for _ in range(2)]

    assert found == [good.version.version] * 2
    assert forced[0] > good.version.version
    assert forced[1] == forced[0]
