"""Files decoded without being stored: as sharding does, in any order, one that fails costs no other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from making import picture, pictures, settings, sharded, sound

from preprocessing.build import Accepted
from preprocessing.decoders.unnamed import ending_of
from preprocessing.reading import Reader
from preprocessing.samples import Part, Sample
from preprocessing.settings import Modality
from preprocessing.unlabelled import unlabelled
from preprocessing.unstored import Decoded, Faulty, culprit, decoded


def arrays(found: Decoded) -> dict[str, np.ndarray]:
    assert isinstance(found, Accepted), found
    return found.arrays


@pytest.mark.parametrize("processes", [1, 3])
def test_what_is_decoded_is_what_sharding_stores(tmp_path: Path, processes: int) -> None:
    asked = settings(pictures(tmp_path / "raw", 5), val=0.0, test=0.9)
    shards, _ = sharded(asked, tmp_path / "shards")
    reader = Reader(shards, "test")
    stored = dict(zip(reader.sources, reader.read(range(len(reader))), strict=True))
    samples = unlabelled(asked)

    found = decoded(samples.take(np.arange(len(samples))), asked, processes=processes)

    assert [one.source for one in found if isinstance(one, Accepted)] == sorted(
        f"{folder}/{number:03d}.png" for folder in ("cat", "dog") for number in range(5)
    )
    by_source = {one.source: one.arrays["image"] for one in found if isinstance(one, Accepted)}
    assert stored
    for source, sample in stored.items():
        assert np.array_equal(by_source[source], sample["image"])


def test_bytes_in_memory_are_decoded_like_a_file(tmp_path: Path) -> None:
    picture(tmp_path / "raw" / "one.png")
    asked = settings(tmp_path / "raw")
    content = (tmp_path / "raw" / "one.png").read_bytes()
    sample = Sample("any", "", (Part("image", "any.png", len(content), 0),))

    (here,) = decoded([sample], replace(asked, raw=""), {"any.png": content})
    (there,) = decoded(unlabelled(asked).take(np.array([0])), asked)

    assert np.array_equal(arrays(here)["image"], arrays(there)["image"])


def test_a_file_over_the_limit_or_without_content_is_refused_unread(tmp_path: Path) -> None:
    asked = settings(tmp_path, max_bytes=10)
    samples = [Sample(name, "", (Part("image", name, 0, 0),)) for name in ("long.png", "empty.png")]

    found = decoded(samples, asked, {"long.png": bytes(11), "empty.png": b""})

    assert [culprit(one).reason for one in found if isinstance(one, Faulty)] == ["too_large", "empty"]


def test_a_file_that_changes_or_goes_away_is_refused_and_stops_nothing(tmp_path: Path) -> None:
    asked = settings(pictures(tmp_path / "raw", 3, ["cat"]))
    samples = unlabelled(asked)
    (tmp_path / "raw" / "cat" / "000.png").unlink()
    (tmp_path / "raw" / "cat" / "001.png").write_bytes(b"another")

    gone, changed, kept = decoded(samples.take(np.arange(3)), asked)

    assert isinstance(gone, Faulty)
    assert isinstance(changed, Faulty)
    assert {culprit(gone).reason, culprit(changed).reason} == {"unreadable"}
    assert arrays(kept)


def test_files_of_any_folder_are_joined_by_their_path_without_extension(tmp_path: Path) -> None:
    for name in ("deep/er/a", "train/b", "c"):
        picture(tmp_path / f"{name}.png")
        sound(tmp_path / f"{name}.wav")
    picture(tmp_path / "alone.png")
    (tmp_path / "notes.txt").write_text("no sample")

    samples = unlabelled(settings(tmp_path, modalities=("image", "audio")))

    assert samples.paths(np.arange(3)) == [
        ["c.png", "c.wav"], ["deep/er/a.png", "deep/er/a.wav"], ["train/b.png", "train/b.wav"],
    ]  # fmt: skip
    refused = {one["source"]: one["reason"] for one in samples.refused.to_pylist()}
    assert refused == {"alone.png": "incomplete", "notes.txt": "unsupported"}


@pytest.mark.parametrize(
    ("modality", "begin", "ending"),
    [
        ("audio", b"RIFF\x00\x00\x00\x00WAVE", ".wav"),
        ("audio", b"ID3\x04", ".wav"),
        ("audio", b"\xff\xfb\x90", ".wav"),
        ("audio", b"\xff\xf1\x50", ".m4a"),
        ("audio", b"\xff\xf9\x50", ".m4a"),
        ("audio", b"\x00\x00\x00\x20ftypM4A ", ".m4a"),
        ("audio", b"\x1aE\xdf\xa3", ".m4a"),
        ("audio", b"nothing known", ".wav"),
        ("mesh", b"OFF\n3 1 0\n", ".off"),
        ("mesh", b"ply\nformat ascii 1.0\n", ".ply"),
        ("mesh", b"glTF\x02\x00\x00\x00", ".glb"),
        ("mesh", b' {"asset": {}}', ".gltf"),
        ("mesh", b"solid box\n facet normal", ".stl"),
        ("mesh", bytes(80) + (1).to_bytes(4, "little") + bytes(50), ".stl"),
        ("mesh", b"v 0 0 0\nv 1 0 0\n", ".obj"),
    ],
)
def test_a_file_without_a_name_is_read_as_what_it_begins_like(
    modality: Modality, begin: bytes, ending: str
) -> None:
    assert ending_of(modality, begin) == ending
