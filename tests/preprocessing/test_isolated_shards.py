"""A shard that was built in the child process is the shard that would have been built here."""

import json
from pathlib import Path
from typing import Any

import pytest
from making import pictures
from PIL import Image

from cluster.mistake import UserError
from cluster.storage import store
from preprocessing.build import build_shard, sidecar_name
from preprocessing.isolation import build_isolated
from preprocessing.plan import Work
from preprocessing.refusal import Refused
from preprocessing.samples import Part, Sample
from preprocessing.settings import DataSettings, ImageSettings

pytestmark = pytest.mark.slow


def work(root: Path) -> Work:
    """All pictures of the folder in one shard."""
    samples: list[Sample] = []
    for path in sorted(root.rglob("*.png")):
        name, found = path.relative_to(root).as_posix(), path.stat()
        part = Part("image", name, found.st_size, found.st_mtime_ns)
        samples.append(Sample(name.removesuffix(".png"), path.parent.name, (part,)))
    return Work(name="train-g0000-00000-0123456789ab", split="train", samples=tuple(samples))


def asked(root: Path, **more: Any) -> DataSettings:
    return DataSettings(raw=str(root), image=ImageSettings(size=8), **more)


def contents(place: Path) -> dict[str, bytes]:
    return {one.name: store(str(place)).read(one.name) for one in store(str(place)).list()}


def test_an_isolated_shard_has_the_same_bytes(tmp_path: Path) -> None:
    root = pictures(tmp_path / "raw", 20)
    (root / "cat" / "005.png").write_bytes(b"no picture")

    here = build_shard(work(root), asked(root), str(tmp_path / "here"))
    isolated = build_isolated(work(root), asked(root), str(tmp_path / "isolated"))

    assert isolated == here
    assert contents(tmp_path / "isolated") == contents(tmp_path / "here")


def test_a_picture_that_needs_more_memory_than_allowed_is_refused_alone(tmp_path: Path) -> None:
    root = pictures(tmp_path / "raw", 3)
    Image.new("RGB", (7800, 7800)).save(root / "cat" / "bomb.png")
    small, large = asked(root, decoder_memory=0.3), asked(root, decoder_memory=4.0)

    build_isolated(work(root), small, str(tmp_path / "small"))
    build_isolated(work(root), large, str(tmp_path / "large"))

    name = sidecar_name(work(root).name)
    refused = json.loads(contents(tmp_path / "small")[name])["refused"]
    assert [(one["source"], one["reason"]) for one in refused] == [("cat/bomb.png", "too_large")]
    assert json.loads(contents(tmp_path / "large")[name])["refused"] == []


def test_a_picture_that_takes_too_long_is_refused_as_if_its_decoder_had_done_so(tmp_path: Path) -> None:
    root = pictures(tmp_path / "raw", 3)
    Image.new("RGB", (7800, 7800)).save(root / "cat" / "slow.png")  # One CPU second and more.
    hasty = asked(root, decoder_seconds=0.3)

    build_isolated(work(root), hasty, str(tmp_path / "isolated"))

    store(str(tmp_path / "isolated")).sweep()  # The killed process left a draft.
    found = contents(tmp_path / "isolated")
    (refused,) = json.loads(found[sidecar_name(work(root).name)])["refused"]
    assert (refused["source"], refused["reason"]) == ("cat/slow.png", "timeout")
    told = {"cat/slow.png": Refused("timeout", refused["detail"])}
    build_shard(work(root), hasty, str(tmp_path / "here"), told=told)
    assert found == contents(tmp_path / "here")


def test_a_file_that_changed_is_the_users_mistake_across_the_processes(tmp_path: Path) -> None:
    root = pictures(tmp_path / "raw", 3)
    stale = work(root)
    (root / "cat" / "001.png").write_bytes(b"another content")

    with pytest.raises(UserError, match="changed while it was read") as mistake:
        build_isolated(stale, asked(root), str(tmp_path / "shards"))

    assert "Traceback" not in str(mistake.value)
