"""The real sets: no file is lost, and what others read from the shards is what was stored."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import webdataset

from preprocessing import job
from preprocessing.reading import Reader
from preprocessing.settings import AudioSettings, DataSettings, ImageSettings, MeshSettings, VideoSettings
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.data,
    pytest.mark.ray,
    pytest.mark.usefixtures("ray_session"),
    # webdataset leaves the tar to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

# archive, folder, settings, files refused (clips without a sound track), samples
SETS = {
    "cifar10": (
        "dev-images-cifar10", "images/cifar10",
        {"modalities": ("image",), "image": ImageSettings(size=32)}, 0, 12_000,
    ),
    "grocery_photos": (
        "dev-images-grocery_photos", "images/grocery_photos",
        {"modalities": ("image",), "image": ImageSettings(size=64)}, 0, 600,
    ),
    "fsdd": (
        "dev-audio-fsdd", "audio/fsdd",
        {"modalities": ("audio",), "audio": AudioSettings(rate=8000)}, 0, 3_000,
    ),
    "psb12": (
        "dev-meshes-psb12", "meshes/psb12",
        {"modalities": ("mesh",), "mesh": MeshSettings(stored=1024, points=512)}, 0, 612,
    ),
    "surveillance2": (
        "dev-video-surveillance2", "video/surveillance2",
        {
            "modalities": ("video", "audio"), "max_refused": 0.1, "shard_size": 10,
            "video": VideoSettings(size=32),
        }, 5, 99,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_every_file_of_a_real_set_is_in_a_sample_or_in_quarantine(
    name: str, real_data: Callable[[str], Path], tmp_path: Path
) -> None:
    archive, folder, chosen, refused, samples = SETS[name]
    raw = real_data(archive) / folder
    settings = DataSettings(raw=str(raw), val=0.0, **chosen)  # pyright: ignore

    shards, skipped = job.shard(settings, str(tmp_path), lambda done, total: None)

    sources = {str(path.relative_to(raw)) for path in raw.rglob("*") if path.is_file()}
    index = pq.read_table(tmp_path / "index.parquet").to_pylist()
    quarantine = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    media = {row["source"] for row in quarantine if row["reason"] not in ("unsupported", "not_asked")}
    assert not skipped
    assert {row["source"] for row in index} | {row["source"] for row in quarantine} == sources
    assert (len(index), len(media)) == (samples, refused)
    assert shards.found == len(sources)
    others_read_what_was_stored(shards, tmp_path)


def others_read_what_was_stored(shards: Shards, folder: Path) -> None:
    """All samples of the first shard of train, by webdataset alone and by our reader."""
    reader = Reader(shards, "train")
    place = {key: row for row, key in enumerate(reader.keys)}
    tar = min(folder.glob("train-*.tar"))
    samples = list(webdataset.WebDataset(str(tar), shardshuffle=False).decode())
    assert samples
    for sample in samples:
        (ours,) = reader.read([place[sample["__key__"]]])
        for modality, array in ours.items():
            np.testing.assert_array_equal(sample[f"{modality}.npy"], array)
