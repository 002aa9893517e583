"""The model is one graph for torch.compile, in every form, forward and backward."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
from dataclasses import replace
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
every = {
    "image": ImageSpec.of(s, **pixels),
    "mesh": MeshSpec.of(s, points=5, normals=False),
    "video": VideoSpec.of(s, frames=2, **pixels),
    "audio": AudioSpec.of(s, rate=800, seconds=1.0, channels=1, std=1.0, form="mel", mels=4,
                          window=64, hop=80),
}
some = {name: every[name] for name in ("image", "mesh")}
grids = {"image": every["image"]}
sample = {"image": np.ones((8, 8, 3), np.uint8), "mesh": np.ones((9, 3), np.float32),
          "video": np.ones((1, 8, 8, 3), np.uint8), "audio": np.arange(600, dtype=np.int16)[:, None]}


def passed(model, call, batch, autocast):
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        logits = call(batch)
    logits.float().square().sum().backward()
    return [logits, *(parameter.grad for parameter in model.parameters())]


def check(form, specs, *, recompute=False, autocast=False):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = Perceiver(replace(s, attention=form), specs, 3)
    model.recompute = recompute
    torch.nn.init.normal_(model.head.weight)
    batch = model.collate([sample, sample], None)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    loose = dict(rtol=0.05, atol=0.5) if autocast else dict(rtol=1e-4, atol=1e-5)
    for found, wanted in zip(passed(model, compiled, batch, autocast), passed(model, model, batch, autocast)):
        torch.testing.assert_close(found, wanted, **loose, msg=lambda said: f"{form}: {said}")


check("auto", every)
for form in ("textbook", "absorbed", "streamed"):
    check(form, some)
check("separable", grids, autocast=True)
check("separable", grids, recompute=True)
"""


def test_the_model_compiles_without_a_graph_break_in_every_form() -> None:
    """In a process of its own: the shape checks of this test session are no part of the model."""
    root = Path(__file__).parents[2]

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=root, capture_output=True, text=True, timeout=600, check=False
    )

    assert done.returncode == 0, done.stderr
