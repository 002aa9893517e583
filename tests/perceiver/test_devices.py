"""What must hold on a GPU; what can is tested on the CPU by the same lines."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel

from perceiver.image import ImageSpec
from perceiver.model import Perceiver
from perceiver.segment import Raw
from perceiver.settings import Form, ModelSettings
from perceiver.step import computing

Build = Callable[..., Perceiver]
Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]

CUDA = pytest.param(
    "cuda",
    marks=[
        pytest.mark.gpu,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here"),
    ],
)
DEVICES = pytest.mark.parametrize("device", ["cpu", CUDA])
FORMS: tuple[Form, ...] = ("textbook", "absorbed", "streamed", "separable")


def flashing(bands: int = 62) -> tuple[Perceiver, dict[str, Raw]]:
    """A small picture with the channels of the preset for flash attention."""
    settings = ModelSettings(latents=32, width=64, heads=2, blocks=2, layers=1, bands=bands)
    spec = ImageSpec.of(settings, height=16, width=16, mean=(127.0,) * 3, std=(60.0,) * 3)
    model = Perceiver(settings, {"image": spec}, 5)
    torch.nn.init.normal_(model.head.weight)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    return model, model.collate([{"image": one} for one in pixels], None)


def on(device: str, batch: dict[str, Raw]) -> dict[str, Raw]:
    return {modality: raw.to(device) for modality, raw in batch.items()}


@DEVICES
@pytest.mark.parametrize("form", FORMS)
def test_a_form_on_a_device_is_the_textbook_on_the_cpu(form: Form, device: str) -> None:
    reference, batch = flashing(bands=8)
    reference.settings = replace(reference.settings, attention="textbook")
    model = copy.deepcopy(reference).to(device)
    model.settings = replace(model.settings, attention=form)

    expected, logits = reference(batch), model(on(device, batch))
    expected.square().sum().backward()
    logits.square().sum().backward()

    torch.testing.assert_close(logits.cpu(), expected, rtol=1e-4, atol=1e-4)
    for mine, other in zip(model.parameters(), reference.parameters(), strict=True):
        assert mine.grad is not None
        assert other.grad is not None
        torch.testing.assert_close(mine.grad.cpu(), other.grad, rtol=1e-3, atol=2e-3)


@DEVICES
def test_several_modalities_are_one_answer_on_a_device(device: str, build: Build, samples: Samples) -> None:
    model = build("image", "mesh", "video")
    batch = model.collate(samples, None)

    here = model(batch)

    torch.testing.assert_close(
        copy.deepcopy(model).to(device)(on(device, batch)).cpu(), here, rtol=1e-3, atol=1e-3
    )


@DEVICES
def test_bfloat16_on_a_device_is_near_float32(device: str) -> None:
    model, batch = flashing()
    model, batch = model.to(device), on(device, batch)

    with computing("bfloat16", torch.device(device)):
        logits = model(batch)

    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(batch), rtol=0.1, atol=0.1)


@DEVICES
def test_the_presets_channels_run_on_flash_attention_alone(device: str) -> None:
    model, batch = flashing()
    model.settings = replace(model.settings, attention="absorbed")
    model, batch = model.to(device), on(device, batch)

    with sdpa_kernel(SDPBackend.FLASH_ATTENTION), computing("bfloat16", torch.device(device)):
        logits = model(batch)
        logits.float().square().sum().backward()

    assert logits.isfinite().all()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_forward_pass_is_captured_as_a_cuda_graph() -> None:
    model, batch = flashing()
    model, batch = model.cuda().eval(), on("cuda", batch)
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        expected = model(batch)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()

    with torch.no_grad(), torch.cuda.graph(graph):
        logits = model(batch)
    graph.replay()

    torch.testing.assert_close(logits, expected)


@pytest.mark.parametrize("form", FORMS)
def test_nothing_in_the_model_waits_for_a_device(form: Form) -> None:
    """With tensors that hold no numbers, whatever asks for one (`item`, `bool`, `nonzero`) fails."""
    model, batch = flashing()
    model.settings = replace(model.settings, attention=form)

    with FakeTensorMode(allow_non_fake_inputs=True):
        logits = model(batch)
        logits.square().sum().backward()

    assert logits.shape == (2, 5)
