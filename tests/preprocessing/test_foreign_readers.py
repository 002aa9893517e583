"""The shards are ordinary WebDataset tars: other people's readers give equal arrays.

What reads in a foreign process imports nothing of ours.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from making import picture, settings, sharded, sound

from preprocessing.reading import Reader
from preprocessing.shards import Shards

WEBDATASET = """
import json, sys
import webdataset
paths, out = sys.argv[2:], {}
for sample in webdataset.WebDataset(paths, shardshuffle=False).decode():
    arrays = {name[:-4]: int(sample[name].astype("int64").sum()) for name in sample if name.endswith(".npy")}
    shapes = {name[:-4]: sample[name].shape for name in sample if name.endswith(".npy")}
    out[sample["__key__"]] = [sample["json"]["label"], sample["json"]["source"], arrays, shapes]
assert not {"preprocessing", "cluster"} & set(sys.modules)
json.dump(out, open(sys.argv[1], "w"))
"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder = tmp_path_factory.mktemp("foreign")
    for number in range(12):
        for label in ("cat", "dog.v2"):
            picture(folder / "raw" / label / f"photo.{number}.png", seed=number)
            sound(folder / "raw" / label / f"photo.{number}.wav", seed=number, samples=50 + number)
    return sharded(settings(folder / "raw", modalities=("image", "audio")), folder / "shards")[0]


def test_webdataset_alone_reads_equal_arrays(shards: Shards, tmp_path: Path) -> None:
    paths = [str(Path(shards.place) / name) for name in [tar.name for tar in shards.tars]]
    command = [sys.executable, "-c", WEBDATASET, str(tmp_path / "out.json"), *paths]

    subprocess.run(command, check=True, cwd=tmp_path)

    foreign = json.loads((tmp_path / "out.json").read_text())
    ours = {}
    for split in ("train", "val", "test"):
        reader = Reader(shards, split)
        for row, sample in enumerate(reader.read(range(len(reader)))):
            label = shards.classes[reader.labels[row]]
            sums = {name: int(array.astype(np.int64).sum()) for name, array in sample.items()}
            shapes = {name: [*array.shape] for name, array in sample.items()}
            ours[reader.keys[row]] = [label, reader.sources[row], sums, shapes]
    assert len(ours) == 24
    assert foreign == ours


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_ray_read_webdataset_gives_equal_arrays(shards: Shards, ray_session: None) -> None:
    import ray

    paths = [str(Path(shards.place) / name) for name in [tar.name for tar in shards.tars]]
    foreign = {row["__key__"]: row for row in ray.data.read_webdataset(paths).iter_rows()}

    assert len(foreign) == 24
    for split in ("train", "val", "test"):
        reader = Reader(shards, split)
        for row, sample in enumerate(reader.read(range(len(reader)))):
            other = foreign[reader.keys[row]]
            for name, array in sample.items():
                np.testing.assert_array_equal(other[f"{name}.npy"], array)
            assert other["json"]["label"] == shards.classes[reader.labels[row]]
