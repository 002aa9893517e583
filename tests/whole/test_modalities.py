"""A picture, a sound and a shape of one thing are one sample of one model, from raw files to the registry."""

import json
from pathlib import Path

import mlflow
import numpy as np
import pytest
import soundfile
import trimesh
from PIL import Image
from small_runs import MODEL, Command

from pipelines.artifacts import Trained
from pipelines.layout import Layout
from pipelines.models.classifier import DESCRIPTION, WEIGHTS, Classifier
from pipelines.settings import read
from preprocessing.reading import Reader
from preprocessing.shards import Shards

pytestmark = [
    pytest.mark.whole,
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

RUN = """# Three modalities
name = "things"
workspace = "{work}"
[data]
raw = "{raw}"
modalities = ["image", "audio", "mesh"]
val = 0.2
test = 0.3
[data.audio]
rate = 8000
seconds = 0.25
form = "raw"
[data.mesh]
stored = 128
points = 32
normals = true
{model}views = 2
[train]
steps = 40
batch = 8
rate = 3e-3
[cluster]
cpus_per_worker = 1
"""


def make_things(folder: Path) -> Path:
    """Red low cubes and green high balls; one ball has lost its sound."""
    generator = np.random.default_rng(0)
    shapes = {"cube": trimesh.creation.box(), "ball": trimesh.creation.icosphere(subdivisions=1)}
    for label, (name, shape) in enumerate(shapes.items()):
        (folder / name).mkdir(parents=True)
        for number in range(24):
            stem = folder / name / f"{number:02d}"
            pixels = generator.integers(0, 60, (8, 8, 3), dtype=np.uint8)
            pixels[..., label] += 180
            Image.fromarray(pixels).save(stem.with_suffix(".png"))
            length = int(generator.integers(1000, 3000))
            tone = np.sin(np.arange(length) * (0.1 + 0.3 * label)) * 0.5
            soundfile.write(stem.with_suffix(".wav"), tone, 8000, subtype="PCM_16")
            shape.copy().apply_scale(generator.uniform(0.5, 2)).export(stem.with_suffix(".off"))
    (folder / "ball" / "00.wav").unlink()
    return folder


def test_three_modalities_make_one_registered_model(perceiver: Command, tmp_path: Path) -> None:
    run_file = tmp_path / "run.toml"
    run_file.write_text(RUN.format(model=MODEL, work=tmp_path / "work", raw=make_things(tmp_path / "raw")))

    answer = json.loads(perceiver("run", run_file, "--json", "--data.max-refused", "0.1").stdout)

    assert answer["metrics"]["test/accuracy"] > 0.9
    settings = read(str(run_file), [])
    shards = Shards.open(settings.shards)
    assert (shards.found, shards.quarantined, sum(shards.counts.values())) == (143, 2, 47)
    layout = Layout.of(settings, shards.digest)
    trained = Trained.open(layout.trained)
    assert trained is not None
    folder = Path(layout.checkpoints, trained.checkpoint)
    samples = Reader(shards, "test").read([0])
    expected = Classifier.load(folder / DESCRIPTION, folder / WEIGHTS).probabilities(samples)
    mlflow.set_tracking_uri(settings.tracking_uri)
    model = mlflow.pyfunc.load_model("models:/things@candidate")
    arrays = {name: array[None] for name, array in samples[0].items()}
    (row,) = model.predict(arrays, params={"all": True}).to_dict(orient="records")
    assert row["refused"] is None
    assert [*row["probabilities"]] == [*shards.classes]
    assert np.array([[*row["probabilities"].values()]]) == pytest.approx(expected, abs=1e-6)
