"""Our side of the model's benchmark, and the only file of it that knows our model's interface.

Shapes: B samples, N latents, M positions, D latent width, C channels.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cases import FORMS, Case
from perceiver.attention import CrossAttend
from perceiver.audio import AudioSpec
from perceiver.forms.choice import prepared
from perceiver.forms.source import joined
from perceiver.image import ImageSpec
from perceiver.inputs import Spec
from perceiver.mesh import MeshSpec
from perceiver.model import Perceiver
from perceiver.segment import Raw
from perceiver.settings import Form, MeshTokens, ModelSettings
from perceiver.video import VideoSpec

Built = tuple[nn.Module, Callable[[], Tensor]]
"""The parameters of the part, and what computes its answer."""

HOP = 1024  # 48 kHz: 60 frames of 1,024 samples are the paper's 1.28 s
PATCH, BLOCK = 8, 2  # of video, as in the paper
WAVE = 128  # samples of one position, as in the paper


class NotOfferedError(Exception):
    """The form does not apply to this case."""


def built(case: Case, form: str) -> Built:
    """Our model, or its first cross-attend, evaluated as `form` says."""
    built_model = model(case, "textbook" if form == "naive" else form)
    raw = batch(case, built_model)
    if case.part == "network":
        return built_model, lambda: built_model(raw)
    cross = cast(CrossAttend, built_model.cross_attends[0])
    latents = nn.Parameter(built_model.latents.detach().repeat(case.batch, 1, 1))
    part = nn.ModuleList([cross.latent_norm, cross.byte_norm, cross.attention, nn.ParameterList([latents])])
    read = reading(built_model, cross, raw, form)
    return part, lambda: read(latents)


def reading(
    built_model: Perceiver, cross: CrossAttend, raw: Mapping[str, Raw], form: str
) -> Callable[[Tensor], Tensor]:
    """How the attention of one cross-attend is called, from the inputs' segments on.

    Whatever a form derives from the segments (a joined byte array, LayerNorm's statistics) is timed with it;
    `naive` alone gets a ready byte array.
    """
    with torch.no_grad():
        segments = built_model.segments(raw)
        ready, _ = joined(segments)
    if form == "naive":
        return lambda latents: naive(cross, latents, ready)

    forms = list(built_model.forms(ready.device.type).values())

    def read(latents: Tensor) -> Tensor:
        found = prepared(segments, forms)(cross.queries(latents), cross.projections)
        return cross.attention.out(found.transpose(1, 2).flatten(2))

    return read


def model(case: Case, form: str) -> Perceiver:
    """Our model of this geometry; its head, which starts at 0, gets weights, so that gradients flow."""
    settings = ModelSettings(
        latents=case.latents,
        width=case.width,
        heads=case.heads,
        blocks=case.blocks,
        layers=case.layers,
        bands=case.bands,
        mesh=MeshTokens(max_frequency=1120.0),
    )
    if form in FORMS:
        settings = dataclasses.replace(settings, attention=cast(Form, form))
    torch.manual_seed(0)
    modality, spec = spec_of(case, settings)
    try:
        made = Perceiver(settings, {modality: spec}, case.classes)
    except ValueError as refusal:
        raise NotOfferedError(str(refusal)) from refusal
    nn.init.normal_(made.head.weight, std=0.02)
    made.recompute = form == "recompute"
    return made


def weights(case: Case) -> list[Tensor]:
    """Every parameter: latents, cross-attends, latent transformer, head, in the order they are used."""
    return [parameter.detach() for parameter in model(case, "auto").parameters()]


def byte_array(case: Case) -> Tensor:
    """What our textbook form reads, for peers that take a ready byte array: [B, M, C]."""
    made = model(case, "textbook")
    with torch.no_grad():
        return joined(made.segments(batch(case, made)))[0].contiguous()


def spec_of(case: Case, settings: ModelSettings) -> tuple[str, Spec]:
    """The modality, and its facts for the model."""
    middle, spread = (127.5,) * 3, (74.0,) * 3
    match case.kind, case.sizes:
        case "image", (height, width):
            return "image", ImageSpec.of(settings, height=height, width=width, mean=middle, std=spread)
        case "video", (frames, height, width):
            frames, height, width = BLOCK * frames, PATCH * height, PATCH * width
            return "video", VideoSpec.of(
                settings, frames=frames, height=height, width=width, mean=middle, std=spread
            )
        case "points", (points,):
            return "mesh", MeshSpec.of(settings, points=points, normals=False)
        case "mel" | "wave", (steps, *bins):
            return "audio", AudioSpec.of(
                settings, rate=48_000, seconds=steps * (HOP if bins else WAVE) / 48_000, channels=1,
                std=3000.0, form="mel" if bins else "raw", mels=math.prod(bins), window=2 * HOP, hop=HOP,
            )  # fmt: skip
    raise ValueError(f"no {case.kind} has the sizes {case.sizes}")


def batch(case: Case, made: Perceiver) -> dict[str, Raw]:
    """Noise as the data set would hold it, collated as for evaluation."""
    noise = np.random.default_rng(0)
    (modality,) = made.specs
    return made.collate([{modality: stored(case, noise)} for _ in range(case.batch)], None)


def stored(case: Case, noise: np.random.Generator) -> np.ndarray[Any, np.dtype[Any]]:
    """One sample in the form of the shards."""
    sizes = case.sizes
    if case.kind == "points":
        return noise.uniform(-1, 1, (*sizes, 3)).astype(np.float32)
    if case.kind in ("mel", "wave"):
        samples = sizes[0] * (HOP if case.kind == "mel" else WAVE)
        return (3000 * noise.standard_normal((samples, 1))).clip(-32768, 32767).astype(np.int16)
    if case.kind == "video":
        sizes = (BLOCK * sizes[0], PATCH * sizes[1], PATCH * sizes[2])
    return noise.integers(0, 256, (*sizes, 3), dtype=np.uint8)


def naive(cross: CrossAttend, latents: Tensor, ready: Tensor) -> Tensor:
    """The textbook's cross-attend, one head, with keys, values and the N x M matrix kept for the backward."""
    attention, x = cross.attention, cross.byte_norm(ready)
    q, k, v = attention.query(cross.latent_norm(latents)), attention.key(x), attention.value(x)
    attended = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(-1)
    return attention.out(attended @ v)
