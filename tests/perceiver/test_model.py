"""The Perceiver: the paper's figures, and what may and may not change its answer."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from perceiver.flops import flops
from perceiver.forms.source import joined
from perceiver.image import ImageSpec
from perceiver.inputs import Spec
from perceiver.model import Perceiver
from perceiver.positions import expanded
from perceiver.segment import Raw, Segment
from perceiver.settings import ModelSettings, Sharing

Build = Callable[..., Perceiver]
Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]
PAPER = ModelSettings(latents=512, width=1024, blocks=8, layers=6, bands=64)


def as_audio(samples: Samples, form: str) -> Samples:
    return [{**sample, "audio": sample[form]} for sample in samples]


@pytest.mark.parametrize(("sharing", "count"), [("paper", 44_912_254), ("none", 326_241_856)])
def test_the_papers_imagenet_model_has_its_parameters_to_the_digit(sharing: Sharing, count: int) -> None:
    settings = replace(PAPER, sharing=sharing)
    spec = ImageSpec.of(settings, height=224, width=224, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))

    with torch.device("meta"):
        model = Perceiver(settings, {"image": spec}, 1000)

    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert (model.positions, model.channels) == (50_176, 261)


def test_flops_are_the_papers_figures() -> None:
    def giga(blocks: int, layers: int) -> float:
        return flops(replace(PAPER, blocks=blocks, layers=layers), 50_176, 261) / 1e9

    assert [round(giga(k, 48 // k), 1) for k in (1, 2, 4, 8)] == [404.3, 447.6, 534.1, 707.2]
    assert [round(2 * giga(k, 1) - giga(k, 2), 1) for k in (4, 8, 12)] == [173.1, 346.1, 519.2]


@pytest.mark.parametrize("wide", [{"widening": 4}, {"mlp": "geglu"}, {"mlp": "geglu", "widening": 4}])
def test_flops_count_a_wider_or_gated_mlp(wide: dict[str, Any], small: ModelSettings, build: Build) -> None:
    def macs(model: Perceiver) -> int:
        return small.latents * sum(
            p.numel() for name, p in model.named_parameters() if "mlp" in name and p.ndim == 2
        )

    small = replace(small, sharing="none")
    other = replace(small, **wide)

    more = macs(build("image", settings=other)) - macs(build("image", settings=small))

    assert flops(other, 12, 26) - flops(small, 12, 26) == 2 * more > 0


@pytest.mark.parametrize(
    ("sharing", "cross_attends", "transformers"), [("paper", 2, 1), ("none", 4, 4), ("all", 1, 1)]
)
def test_sharing_decides_who_has_own_weights(
    sharing: Sharing, cross_attends: int, transformers: int, small: ModelSettings, build: Build
) -> None:
    model = build("mesh", settings=replace(small, blocks=4, sharing=sharing))

    assert (len(model.cross_attends), len(model.transformers)) == (cross_attends, transformers)


def test_every_cross_attend_and_transformer_is_used_in_its_place(
    small: ModelSettings, build: Build, samples: Samples
) -> None:
    model = build("mesh", settings=replace(small, blocks=3))
    calls: list[str] = []
    for name, modules in (("cross", model.cross_attends), ("latent", model.transformers)):
        for number, module in enumerate(modules):
            first = module[0] if name == "latent" else module  # type: ignore[index]
            first.register_forward_hook(lambda *_, said=f"{name} {number}": calls.append(said))

    model(model.collate(samples, None))

    assert calls == ["cross 0", "latent 0", "cross 1", "latent 0", "cross 1", "latent 0"]


@pytest.mark.parametrize("names", [("image", "mel", "mesh", "video"), ("wave", "image")])
def test_every_parameter_learns_modality_encodings_included(
    names: tuple[str, ...], build: Build, samples: Samples
) -> None:
    model = build(*names)
    form = "mel" if "mel" in names else "wave"

    model(model.collate(as_audio(samples, form), None)).square().sum().backward()

    still = [
        name
        for name, parameter in model.named_parameters()
        if not name.endswith("key.bias") and (parameter.grad is None or not parameter.grad.abs().sum() > 0)
    ]
    assert not still  # a key bias cancels in the softmax
    assert len(model.encodings) == len(names)
    assert all(len(encoding) >= 4 for encoding in model.encodings.values())


def test_one_modality_alone_gets_no_encoding(build: Build) -> None:
    model = build("image")

    assert len(model.encodings) == 0
    assert model.channels == 2 * 2 * 3 + 2 * 7


def test_a_sample_is_answered_the_same_alone_and_in_a_batch(build: Build, samples: Samples) -> None:
    model, samples = build("image", "mel", "mesh", "video"), as_audio(samples, "mel")

    whole = model(model.collate(samples, None))

    alone = torch.cat([model(model.collate([sample], None)) for sample in samples])
    torch.testing.assert_close(whole, alone, rtol=1e-4, atol=1e-4)
    assert whole.std(0).min() > 1e-3


@pytest.mark.parametrize("name", ["wave", "mel", "video"])
def test_what_is_masked_never_influences_the_answer(name: str, build: Build, samples: Samples) -> None:
    model, modality = build(name), "audio" if name != "video" else name
    raw = model.collate(as_audio(samples, name), None)[modality]
    assert raw.spans is not None
    inside = torch.arange(raw.values.shape[1])
    inside = (inside >= raw.spans[:, :1]) & (inside < raw.spans[:, 1:])
    dirty = raw.values.clone()
    dirty[~inside] = 77

    clean_logits, dirty_logits = model({modality: raw}), model({modality: Raw(dirty, raw.spans)})

    assert not inside.all()
    assert torch.equal(clean_logits, dirty_logits)


def test_masked_positions_of_a_segment_may_hold_anything_even_nan() -> None:
    values, mask = torch.randn(2, 5, 3), torch.tensor([[True] * 3 + [False] * 2, [False] * 5])
    garbage = torch.where(mask[..., None], values, torch.nan)
    axes = (torch.randn(5, 2),)

    clean, seen = joined([Segment(values, axes, mask=mask), Segment(torch.ones(2, 1, 5))])
    dirty, _ = joined([Segment(garbage, axes, mask=mask), Segment(torch.ones(2, 1, 5))])

    assert torch.equal(clean, dirty)
    assert seen is not None
    assert seen.tolist() == [[True] * 3 + [False] * 2 + [True], [False] * 5 + [True]]


@pytest.mark.parametrize("name", ["wave", "mel", "video"])
def test_a_sample_with_nothing_real_stays_finite(name: str, build: Build, samples: Samples) -> None:
    model, modality = build(name), "audio" if name != "video" else name
    raw = model.collate(as_audio(samples, name), None)[modality]
    assert raw.spans is not None
    raw.spans[0] = 0

    logits = model({modality: raw})
    logits.sum().backward()

    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_order_of_positions_does_not_matter(build: Build, samples: Samples) -> None:
    cloud, picture = build("mesh"), build("image")
    points = cloud.collate(samples, None)
    pixels = picture.collate(samples, None)
    shuffled = {"mesh": Raw(points["mesh"].values[:, torch.randperm(20)])}
    before = picture(pixels)

    segment = picture.segments(pixels)[0]
    order, table = torch.randperm(12), expanded(segment.axes).expand(len(samples), -1, -1)
    own = segment.values[:, order]
    picture.segments = lambda _: [Segment(torch.cat([own, table[:, order]], 2))]  # type: ignore
    picture.forms = lambda _: {"image": "streamed"}  # type: ignore

    torch.testing.assert_close(cloud(shuffled), cloud(points), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(picture(pixels), before, rtol=1e-4, atol=1e-5)
    picture.segments = lambda _: [Segment(torch.cat([own, table], 2))]  # type: ignore
    assert not torch.allclose(picture(pixels), before, atol=1e-2)


def test_bfloat16_is_finite_and_near_float32(build: Build, samples: Samples) -> None:
    model, samples = build("image", "mel", "mesh"), as_audio(samples, "mel")
    batch = model.collate(samples, None)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(batch)
    logits.float().sum().backward()

    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), model(batch), rtol=0.1, atol=0.15)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_the_byte_array_is_the_same_in_every_precision(build: Build, samples: Samples) -> None:
    model, samples = build("mel", "mesh"), as_audio(samples, "mel")
    batch = model.collate(samples, None)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = joined(model.segments(batch))[0]

    assert torch.equal(reduced, joined(model.segments(batch))[0])


def test_a_fresh_model_gives_every_class_the_same_chance(
    small: ModelSettings, specs: Mapping[str, Spec], samples: Samples
) -> None:
    model = Perceiver(small, {"image": specs["image"]}, 5)

    assert torch.equal(model(model.collate(samples, None)), torch.zeros(7, 5))


def test_cross_heads_that_do_not_divide_the_channels_are_refused_with_a_width_that_would(
    small: ModelSettings, build: Build
) -> None:
    with pytest.raises(ValueError, match=r"cross-heads \(4\) does not divide the 26 .*cross-width = 28"):
        build("image", settings=replace(small, cross_heads=4))

    assert build("image", settings=replace(small, cross_heads=4, cross_width=28))


def test_no_modality_at_all_is_refused(small: ModelSettings) -> None:
    with pytest.raises(ValueError, match="at least one modality"):
        Perceiver(small, {}, 5)


def test_recomputed_latents_give_the_same_gradients_bit_for_bit(build: Build, samples: Samples) -> None:
    model = build("image")
    batch = model.collate(samples, None)
    kept: list[list[torch.Tensor]] = []

    for recompute in (False, True):
        model.zero_grad()
        model.recompute = recompute
        model(batch).square().sum().backward()
        kept.append([p.grad.clone() for p in model.parameters() if p.grad is not None])

    assert all(map(torch.equal, *kept))


def test_recomputing_keeps_less_for_the_backward_pass(
    small: ModelSettings, build: Build, samples: Samples
) -> None:
    model = build("image", settings=replace(small, blocks=3, layers=4))
    batch = model.collate(samples, None)
    kept: dict[bool, int] = {}

    for recompute in (False, True):
        model.recompute, kept[recompute] = recompute, 0

        def keep(tensor: torch.Tensor, which: bool = recompute) -> torch.Tensor:
            kept[which] += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            model(batch)

    assert kept[True] < kept[False] / 2
