"""What the command does before and between starts of the ranks; no rank is started here."""

from dataclasses import replace
from pathlib import Path

import pytest
from groups import elsewhere

from cluster.mistake import UserError
from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.stopping import Desk
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import loop
from pipelines.training.on_ray import Assignment, until_done
from pipelines.training.outside import Outside, unwatched
from preprocessing.shards import Shards


def ask(settings: RunSettings, shards: Shards, folder: Path) -> str:
    layout = Layout.of(settings, shards.digest)
    with Desk.below(folder) as desk:
        assignment = Assignment(settings.placed(), shards.digest, {"CPU": 1}, desk, unwatched)
        return until_done(assignment, layout, 12, lambda done, total, note: None).name


def test_a_training_that_is_done_starts_no_rank(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    loop(settings, shards.digest, Outside(publish=lambda point: None))

    assert ask(settings, shards, tmp_path / "desks") == "step-00000012-a0001"


def test_checkpoints_of_another_training_are_neither_taken_nor_overtaken(
    settings: RunSettings, shards: Shards, tmp_path: Path
) -> None:
    place = str(tmp_path / "checkpoints")
    first = replace(settings, checkpoints=place)
    loop(first, shards.digest, Outside(publish=lambda point: None))
    second = replace(elsewhere(first, tmp_path / "second"), train=replace(settings.train, rate=1e-4))

    with pytest.raises(UserError, match=r"train\.rate: began with 0\.003, now 0\.0001"):
        ask(second, shards, tmp_path / "desks")

    assert Checkpoints.at(Layout.of(first, shards.digest).checkpoints).attempts.newest() == 1
