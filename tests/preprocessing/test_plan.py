"""The plan is a pure function of the files and the settings."""

import os
import shutil
from pathlib import Path

from making import picture, pictures, settings, sound

from cluster.folder import Folder
from preprocessing.drawing import draw
from preprocessing.history import Past, match
from preprocessing.inventory import take
from preprocessing.plan import Plan, plan
from preprocessing.raw import raw
from preprocessing.settings import AudioSettings, DataSettings, ImageSettings


def planned(root: Path, **more: object) -> Plan:
    return planned_as(settings(root, **more))


def planned_as(asked: DataSettings) -> Plan:
    samples = draw(take(raw(asked.raw).entries(), asked.modalities), None, asked)
    past = Past.of(None, Folder(Path(asked.raw)))
    return plan(samples, asked, past, match(samples, past, False), ())


def placed(whole: Plan) -> dict[str, str]:
    return {sample.identity: work.split for work in whole.works() for sample in work.samples}


def refused(whole: Plan) -> dict[str, str]:
    return {one["source"]: one["reason"] for one in whole.samples.refused.to_pylist()}


def test_a_shard_holds_exactly_its_size_but_the_last(tmp_path: Path) -> None:
    whole = planned(pictures(tmp_path, 25, ["train/cat", "test/cat"]), val=0.0, shard_size=10)

    assert [(work.split, len(work.samples)) for work in whole.works()] == [
        ("train", 10), ("train", 10), ("train", 5), ("test", 10), ("test", 10), ("test", 5),
    ]  # fmt: skip
    assert [*whole.works()][1].name == f"train-g0000-00001-{whole.hash}"


def test_a_sample_never_changes_its_split_when_files_are_added(tmp_path: Path) -> None:
    before = placed(planned(pictures(tmp_path, 100), val=0.2, test=0.2))

    after = placed(planned(pictures(tmp_path, 300), val=0.2, test=0.2))

    assert {identity: after[identity] for identity in before} == before
    assert 310 < [*after.values()].count("train") < 410
    assert 80 < [*after.values()].count("val") < 160


def test_split_folders_are_kept_and_only_the_missing_one_is_drawn(tmp_path: Path) -> None:
    splits = placed(planned(pictures(tmp_path, 100, ["train/cat", "test/cat"]), val=0.3, test=0.3))

    assert {split for identity, split in splits.items() if identity.startswith("test/")} == {"test"}
    drawn = [split for identity, split in splits.items() if identity.startswith("train/")]
    assert set(drawn) == {"train", "val"}
    assert 15 < drawn.count("val") < 45


def test_the_plan_knows_neither_the_folders_place_nor_times(tmp_path: Path) -> None:
    first = pictures(tmp_path / "one", 5)
    second = tmp_path / "elsewhere"
    shutil.copytree(first, second)
    for path in second.rglob("*.png"):
        os.utime(path, (1, 1))

    assert planned(first).hash == planned(second).hash
    assert [*planned(first).works()] != [*planned(second).works()]  # the times tell rewritten files apart


def test_a_file_a_stored_setting_or_a_decoder_changes_the_plan_and_a_seen_one_does_not(
    tmp_path: Path,
) -> None:
    root = pictures(tmp_path, 5)
    first = planned(root).hash

    assert planned(root, audio=AudioSettings(mels=7), max_refused=1.0).hash == first
    assert planned(root, image=ImageSettings(size=9)).hash != first
    assert planned(root, shard_size=3).hash != first
    picture(root / "cat" / "new.png")
    assert planned(root).hash != first


def test_what_only_the_model_sees_is_not_stored(tmp_path: Path) -> None:
    asked = DataSettings(raw=str(pictures(tmp_path, 1)), modalities=("audio", "mesh", "video"))
    names = set(planned_as(asked).stored)

    assert "audio.rate" in names
    assert not names & {"audio.seconds", "audio.form", "audio.mels", "mesh.points", "video.frames", "raw"}


def test_files_of_several_modalities_are_joined_by_path_without_extension(tmp_path: Path) -> None:
    picture(tmp_path / "cat" / "a.png")
    sound(tmp_path / "cat" / "a.wav")
    picture(tmp_path / "cat" / "alone.png")
    for name in ("twin.png", "twin.gif", "twin.wav"):
        (tmp_path / "cat" / name).touch()

    whole = planned(tmp_path, modalities=("image", "audio"), val=0.0, test=0.0)

    ((sample,),) = [work.samples for work in whole.works()]
    assert [(part.modality, part.path) for part in sample.parts] == [
        ("image", "cat/a.png"),
        ("audio", "cat/a.wav"),
    ]
    assert refused(whole) == {
        "cat/alone.png": "incomplete",
        "cat/twin.gif": "ambiguous",
        "cat/twin.png": "ambiguous",
        "cat/twin.wav": "ambiguous",
    }


def test_with_one_modality_twins_are_two_samples_of_one_split(tmp_path: Path) -> None:
    for number in range(40):
        picture(tmp_path / "cat" / f"{number}.png")
        picture(tmp_path / "cat" / f"{number}.gif")

    whole = planned(tmp_path, val=0.3, test=0.3)

    members = [(sample.identity, work.split) for work in whole.works() for sample in work.samples]
    assert len(members) == 80
    assert all(members.count(member) == 2 for member in members)


def test_a_clip_gives_its_sound_where_no_sound_file_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("a.mp4", "b.mp4", "b.wav"):
        (tmp_path / "cat" / name).touch()

    both = planned(tmp_path, modalities=("video", "audio"), val=0.0, test=0.0)
    only = planned(tmp_path, modalities=("audio",), val=0.0, test=0.0)

    assert {tuple(part.path for part in sample.parts) for sample in next(both.works()).samples} == {
        ("cat/a.mp4", "cat/a.mp4"),
        ("cat/b.mp4", "cat/b.wav"),
    }
    assert refused(only) == {"cat/b.mp4": "not_asked"}
