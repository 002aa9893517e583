"""The model is one graph for torch.compile."""

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import numpy as np, torch
from perceiver.audio import AudioSpec
from perceiver.image import ImageSpec
from perceiver.mesh import MeshSpec
from perceiver.model import Perceiver
from perceiver.settings import ModelSettings
from perceiver.video import VideoSpec

torch.set_num_threads(1)
s = ModelSettings(latents=4, width=8, heads=2, blocks=2, layers=1, bands=2)
pixels = dict(height=8, width=8, mean=(0.0,) * 3, std=(1.0,) * 3)
specs = {
    "image": ImageSpec.of(s, **pixels),
    "mesh": MeshSpec.of(s, points=5, normals=False),
    "video": VideoSpec.of(s, frames=2, **pixels),
    "audio": AudioSpec.of(s, rate=800, seconds=1.0, channels=1, std=1.0, form="mel", mels=4,
                          window=64, hop=80),
}
model = Perceiver(s, specs, 3)
torch.nn.init.normal_(model.head.weight)
sample = {"image": np.ones((8, 8, 3), np.uint8), "mesh": np.ones((9, 3), np.float32),
          "video": np.ones((1, 8, 8, 3), np.uint8), "audio": np.arange(600, dtype=np.int16)[:, None]}
batch = model.collate([sample, sample], None)
compiled = torch.compile(model, backend="eager", fullgraph=True)
torch.testing.assert_close(compiled(batch), model(batch))
"""


def test_the_model_of_all_modalities_compiles_without_a_graph_break() -> None:
    """In a process of its own: the shape checks of this test session are no part of the model."""
    root = Path(__file__).parents[2]

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stderr
