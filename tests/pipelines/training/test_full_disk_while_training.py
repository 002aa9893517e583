"""A disk that is full while a training runs costs checkpoints and points, never the training."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from groups import elsewhere, newest
from small_disk import free, small_disk
from waiting import wait_until

from pipelines.layout import Layout
from pipelines.settings import RunSettings
from pipelines.tracking import points
from pipelines.training.checkpoints import Checkpoints
from pipelines.training.loop import loop
from pipelines.training.outside import Outside
from pipelines.training.state import State
from preprocessing.shards import Shards


@dataclass
class Crowd:
    """Fills a disk once the step before was saved, and leaves it once the failures were told."""

    disk: Path
    checkpoints: Checkpoints
    comes: int
    goes: int
    failures: int
    heard: list[str] = field(default_factory=list)

    def __call__(self, phase: str, step: int, state: State) -> None:
        others = self.disk / "others"
        if (phase, step) == ("begin", self.comes):
            wait_until(lambda: bool(self.checkpoints.sealed()))
            others.write_bytes(bytes(free(self.disk)))
        if (phase, step) == ("begin", self.goes):
            wait_until(lambda: len(self.heard) >= self.failures)
            others.unlink()


@pytest.mark.parametrize("where", ["checkpoints", "workspace"])
def test_a_run_goes_on_without_room_and_saves_again_with_it(
    settings: RunSettings, shards: Shards, tmp_path: Path, where: str
) -> None:
    settings = replace(settings, train=replace(settings.train, steps=24))
    whole = elsewhere(settings, tmp_path / "whole")
    loop(whole, shards.digest, Outside(publish=lambda _: None))
    with small_disk(tmp_path / "disk") as disk:
        run = elsewhere(settings, disk if where == "workspace" else tmp_path / "run")
        run = replace(run, checkpoints=str(disk) if where == "checkpoints" else "")
        layout = Layout.of(run, shards.digest)
        layout.folder.mkdir(parents=True, exist_ok=True)
        checkpoints = Checkpoints.at(layout.checkpoints)
        crowd = Crowd(disk, checkpoints, comes=6, goes=14, failures=2)
        publish = points.Record(layout.points).add

        loop(run, shards.digest, Outside(publish=publish, note=crowd.heard.append, watch=crowd))

        assert [note.partition(":")[0] for note in crowd.heard] == [
            "the checkpoint of step 8 could not be saved", "the checkpoint of step 12 could not be saved",
        ]  # fmt: skip
        assert "has no room left" in crowd.heard[0]
        assert newest(run, shards).step == 24
        assert newest(run, shards).weights == newest(whole, shards).weights
        assert [one[9:13] for one in checkpoints.sealed()] == ["0024", "0020"]
        losses = points.curves(layout.points)["train/loss"]
        assert [step for step, _ in losses] == list(range(1, 25))
