"""Weights of perceiver-pytorch and transformers give here the logits that they give there."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import perceiver_pytorch
import pytest
import torch
from perceiver_pytorch.perceiver_pytorch import fourier_encode
from torch import Tensor, nn

from perceiver.image import ImageSpec
from perceiver.mesh import MeshSpec
from perceiver.model import Perceiver
from perceiver.positions import Grid, expanded
from perceiver.published import (
    from_lucidrains,
    from_transformers,
    lucidrains_channels,
    lucidrains_settings,
    transformers_channels,
    transformers_settings,
)
from perceiver.segment import Raw
from perceiver.settings import ModelSettings

pytestmark = pytest.mark.slow

SIZE = (4, 6)
BANDS, TOP = 3, 10.0
CHANNELS = 3 + 2 * (2 * BANDS + 1)
HEADS = {"heads": 4, "cross_heads": 2, "bands": BANDS, "max_frequency": TOP}
MEAN, STD = (120.0, 110.0, 100.0), (60.0, 50.0, 40.0)
OURS = range(CHANNELS)
THEIRS = lucidrains_channels(data=3, axes=2, bands=BANDS)
HF = transformers_channels(data=3, axes=2, bands=BANDS)


def stirred(module: nn.Module) -> Any:
    """In float64, every parameter far from its first value."""
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def lucidrains(**changes: Any) -> Any:
    made: dict[str, Any] = {
        "num_freq_bands": BANDS, "max_freq": TOP, "depth": 3, "num_latents": 6, "latent_dim": 16,
        "cross_heads": 2, "cross_dim_head": 5, "latent_heads": 4, "latent_dim_head": 4, "num_classes": 5,
        "self_per_cross_attn": 2,
    }  # fmt: skip
    return stirred(perceiver_pytorch.Perceiver(**(made | changes)))


def hugging(preprocessor: Callable[[Any], Any] | None = None, **changes: Any) -> Any:
    from transformers import PerceiverConfig, PerceiverModel  # five seconds

    made: dict[str, Any] = {
        "num_latents": 6, "d_latents": 16, "d_model": CHANNELS, "num_blocks": 3,
        "num_self_attends_per_block": 2, "num_self_attention_heads": 4, "num_cross_attention_heads": 1,
    }  # fmt: skip
    config = PerceiverConfig(**(made | changes))
    return stirred(PerceiverModel(config, input_preprocessor=preprocessor and preprocessor(config)))


def model_of(settings: ModelSettings, classes: int = 5) -> Perceiver:
    spec = ImageSpec.of(settings, height=SIZE[0], width=SIZE[1], mean=MEAN, std=STD)
    return stirred(Perceiver(settings, {"image": spec}, classes))


def pixels(batch: int = 4) -> Tensor:
    return torch.randint(0, 256, (batch, *SIZE, 3), dtype=torch.uint8)


def normalised(images: Tensor, dtype: torch.dtype = torch.float64) -> Tensor:
    return (images - torch.tensor(MEAN, dtype=dtype)) / torch.tensor(STD, dtype=dtype)


def byte_array(images: Tensor, channels: list[int]) -> Tensor:
    """B M C, its channels in the order of the published model."""
    data = normalised(images).flatten(1, 2)
    table = expanded(Grid(SIZE, BANDS, TOP).axes).double().expand(len(images), -1, -1)
    return torch.cat([data, table], -1)[..., torch.tensor(channels).argsort()]


def loaded(settings: ModelSettings, state: Callable[[Perceiver], Mapping[str, Tensor]]) -> Perceiver:
    model = model_of(settings)
    model.load_state_dict(state(model), strict=True)
    return model


def assert_same(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    assert theirs.std(0).min() > 1e-3  # samples differ, so the attention is in the logits


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_tie_layers": True},
        {"depth": 1},
        {"cross_heads": 1, "cross_dim_head": CHANNELS, "self_per_cross_attn": 1},
        {"latent_heads": 1, "latent_dim_head": 16},
    ],
    ids=["untied", "tied", "one block", "one cross head", "one latent head"],
)
@torch.no_grad()
def test_weights_of_perceiver_pytorch_give_their_logits(changes: dict[str, Any]) -> None:
    peer = lucidrains(fourier_encode_data=False, input_axis=1, input_channels=CHANNELS, **changes)
    heads = {"heads": changes.get("latent_heads", 4), "cross_heads": changes.get("cross_heads", 2)}
    settings = lucidrains_settings(peer.state_dict(), **{**HEADS, **heads})
    model = loaded(settings, lambda model: from_lucidrains(peer.state_dict(), model, channels=THEIRS))
    images = pixels()

    logits = model({"image": Raw(images)})

    assert_same(logits, peer(byte_array(images, THEIRS)), 1e-10)


@torch.no_grad()
def test_an_untouched_model_of_perceiver_pytorch_is_this_one_in_float32() -> None:
    peer = lucidrains().float()
    settings = lucidrains_settings(peer.state_dict(), **HEADS)
    model = loaded(settings, lambda model: from_lucidrains(peer.state_dict(), model, channels=THEIRS)).float()
    images = pixels()

    logits = model({"image": Raw(images)})

    assert_same(logits, peer(normalised(images, torch.float32)), 1e-5)


@pytest.mark.parametrize(
    ("changes", "cross_heads"),
    [
        ({}, 1),
        ({"num_blocks": 1}, 1),
        ({"cross_attention_shape_for_attention": "q", "num_cross_attention_heads": 2}, 2),
        ({"cross_attention_widening_factor": 3, "self_attention_widening_factor": 3}, 1),
        ({"qk_channels": 16, "v_channels": 16, "num_cross_attention_heads": 4}, 4),
    ],
    ids=["three blocks", "one block", "as wide as the latents", "widened", "width given"],
)
@torch.no_grad()
def test_weights_of_transformers_give_the_head_their_latents(
    changes: dict[str, Any], cross_heads: int
) -> None:
    peer = hugging(**changes)
    blocks = changes.get("num_blocks", 3)
    settings = transformers_settings(
        peer.state_dict(), **{**HEADS, "cross_heads": cross_heads}, blocks=blocks
    )
    model = loaded(settings, lambda model: from_transformers(peer.state_dict(), model, channels=HF))
    images = pixels()

    logits = model({"image": Raw(images)})

    latents = peer(inputs=byte_array(images, HF)).last_hidden_state
    assert_same(logits, model.head(latents.mean(1)), 1e-10)


@torch.no_grad()
def test_an_untouched_image_model_of_transformers_is_this_one_in_float32() -> None:
    from transformers.models.perceiver.modeling_perceiver import PerceiverImagePreprocessor

    positions = {"num_bands": BANDS, "max_resolution": (int(TOP), int(TOP)), "concat_pos": True}
    peer = hugging(
        lambda config: PerceiverImagePreprocessor(
            config,
            prep_type="pixels",
            spatial_downsample=1,
            fourier_position_encoding_kwargs={**positions, "sine_only": False},
        )
    ).float()
    wrapped = {f"perceiver.{name}": tensor for name, tensor in peer.state_dict().items()}
    decoder = {"perceiver.decoder.decoder.final_layer.weight": torch.zeros(5, 16)}
    settings = transformers_settings(wrapped, **{**HEADS, "cross_heads": 1}, blocks=3)
    model = loaded(settings, lambda m: from_transformers(wrapped | decoder, m, channels=HF)).float()
    images = pixels()

    logits = model({"image": Raw(images)})

    latents = peer(inputs=normalised(images, torch.float32).permute(0, 3, 1, 2)).last_hidden_state
    assert_same(logits, model.head(latents.mean(1)), 1e-5)


@torch.no_grad()
def test_a_norm_before_the_head_stays_the_models_own_with_weights_of_transformers() -> None:
    peer = hugging()
    settings = transformers_settings(peer.state_dict(), **{**HEADS, "cross_heads": 1}, blocks=3)
    model = model_of(replace(settings, head_norm=True))

    state = from_transformers(peer.state_dict(), model, channels=HF)

    assert all(torch.equal(state[name], model.state_dict()[name]) for name in state if "head" in name)
    assert {"head.weight", "head.bias", "head_norm.weight", "head_norm.bias"} <= state.keys()


@pytest.mark.parametrize("source", ["perceiver-pytorch", "transformers"])
@torch.no_grad()
def test_every_published_weight_reaches_the_logits_as_it_does_there(source: str) -> None:
    images = pixels(2)
    if source == "transformers":
        peer, channels, mapped = hugging(num_blocks=2), HF, from_transformers
        settings = transformers_settings(peer.state_dict(), **{**HEADS, "cross_heads": 1}, blocks=2)
    else:
        peer = lucidrains(fourier_encode_data=False, input_axis=1, input_channels=CHANNELS, depth=2)
        channels, mapped = THEIRS, from_lucidrains
        settings = lucidrains_settings(peer.state_dict(), **HEADS)
    model = loaded(settings, lambda model: mapped(peer.state_dict(), model, channels=channels))
    before, theirs = model({"image": Raw(images)}), byte_array(images, channels)

    for name, parameter in peer.named_parameters():
        kept = parameter.clone()
        parameter.add_(torch.randn_like(parameter))
        model.load_state_dict(mapped(peer.state_dict(), model, channels=channels), strict=True)
        logits = model({"image": Raw(images)})
        there = peer(theirs)
        there = model.head(there.last_hidden_state.mean(1)) if source == "transformers" else there
        torch.testing.assert_close(logits, there, rtol=1e-9, atol=1e-9, msg=name)
        softmax_cancels_it = name.endswith("key.bias")
        assert softmax_cancels_it or (logits - before).abs().max() > 1e-4, name
        parameter.copy_(kept)


@pytest.mark.parametrize("sharing", ["paper", "all"])
@torch.no_grad()
def test_blocks_that_share_here_take_weights_that_are_equal_there(sharing: Any) -> None:
    peer = lucidrains(fourier_encode_data=False, input_axis=1, input_channels=CHANNELS)
    for layer in peer.layers[1:]:
        layer.load_state_dict(peer.layers[0].state_dict())
    settings = replace(lucidrains_settings(peer.state_dict(), **HEADS), sharing=sharing)
    model = loaded(settings, lambda model: from_lucidrains(peer.state_dict(), model, channels=THEIRS))
    images = pixels()

    logits = model({"image": Raw(images)})

    assert_same(logits, peer(byte_array(images, THEIRS)), 1e-10)


@pytest.mark.parametrize("bands", [1, 4])
def test_channels_say_where_positions_stand_in_the_byte_array_of_others(bands: int) -> None:
    from transformers.models.perceiver.modeling_perceiver import generate_fourier_features

    sizes = (3, 4, 5)
    places = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in sizes), indexing="ij")
    x = torch.stack(places, -1).flatten(0, 2)
    data = torch.randn(60, 2)

    ours = torch.cat([data, expanded(Grid(sizes, bands, 8.0).axes)], -1)

    there = torch.cat([data, fourier_encode(x, 8.0, bands).flatten(1)], -1)
    order = lucidrains_channels(data=2, axes=3, bands=bands)
    torch.testing.assert_close(there[:, order], ours, rtol=1e-5, atol=1e-5)
    there = torch.cat([data, generate_fourier_features(x[None], bands, (8, 8, 8))[0]], -1)
    order = transformers_channels(data=2, axes=3, bands=bands)
    torch.testing.assert_close(there[:, order], ours, rtol=1e-5, atol=1e-5)


def refused(state: Mapping[str, Tensor], settings: ModelSettings, complaint: str, **made: Any) -> None:
    model = model_of(settings)
    mapped = from_transformers if "encoder.cross_attention.layernorm.bias" in state else from_lucidrains
    with pytest.raises(ValueError, match=complaint):
        mapped(state, model, **{"channels": OURS, **made})


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"latents": 7}, r"^latents is 6 x 16, latents of the model 7 x 16: set model.latents = 6$"),
        (
            {"latents": 7, "width": 32},
            r"latents is 6 x 16, .* 7 x 32: set model.latents = 6 and model.width = 16$",
        ),
        ({"blocks": 2}, r"weights have blocks = 3, the model 2: set model.blocks = 3"),
        ({"blocks": 4}, r"weights have blocks = 3, the model 4: set model.blocks = 3"),
        ({"layers": 1}, r"weights have layers = 2, the model 1: set model.layers = 2"),
        ({"head_norm": False}, r"have head_norm = True, the model False: set model.head-norm = True"),
        (
            {"cross_width": 0},
            r"to_q.weight is 10 x 16, cross_attends.0.attention.query.* 17 x 16: .* model.cross-width = 10",
        ),
        (
            {"widening": 2},
            r"layers.0.cross_ff.fn.net.0.weight is 128 x 16, .* 64 x 16: set model.widening = 4$",
        ),
        ({"mlp": "gelu"}, r"net.0.weight is 128 x 16, .* 64 x 16: set model.mlp = geglu$"),
        (
            {"mlp": "gelu", "widening": 8},
            r"net.2.weight is 16 x 64, .* 16 x 128: set model.mlp = geglu",
        ),
        ({"sharing": "paper"}, r"layers.1.self_attns.0.0.norm.weight is not what an .*sharing = paper makes"),
        ({"sharing": "all"}, r"layers.1.cross_attn.norm.weight is not what .*: set model.sharing = none"),
    ],
)
def test_a_model_of_another_shape_is_refused_with_the_setting_that_fits(
    changes: dict[str, Any], complaint: str
) -> None:
    state = lucidrains(cross_heads=1, cross_dim_head=10).state_dict()

    settings = replace(lucidrains_settings(state, **{**HEADS, "cross_heads": 1}), **changes)

    refused(state, settings, complaint)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"num_classes": 7},
            r"to_logits.2.weight is 7 x 16, head.weight of the model 5 x 16: build .* class",
        ),
        (
            {"latent_dim_head": 8},
            r"self_attns.0.0.fn.to_q.weight is 32 x 16, .* 16 x 16: no .* latent_dim_head x latent_heads",
        ),
        (
            {"num_freq_bands": 4},
            r"norm_context.weight is 21, cross_attends.0.byte_norm.weight .* 17: give .*model.bands",
        ),
        (
            {"attn_residual": True},
            r"9 published parameters have no place .* attn_residuals.0.to_attn_logits.0",
        ),
        ({"final_classifier_head": False}, r"have no to_logits.1.weight: hand over the whole state_dict"),
    ],
)
def test_weights_that_no_setting_fits_are_refused_by_name(changes: dict[str, Any], complaint: str) -> None:
    state = lucidrains(**changes).state_dict()

    refused(state, lucidrains_settings(state, **HEADS), complaint)


@pytest.mark.parametrize(
    ("peer", "changes", "complaint"),
    [
        ({}, {"blocks": 2}, r"weights have blocks = 1, the model 2: set model.blocks = 1"),
        ({}, {"layers": 5}, r"weights have layers = 4, the model 5: set model.layers = 4"),
        ({}, {"layers": 7}, r"weights have layers = 8, the model 7: set model.layers = 8"),
        (
            {"v_channels": 32, "qk_channels": 16},
            {},
            r"value.weight is 32 x 17, .*value.weight of the model 16 x 17: no .* equally wide",
        ),
        ({"v_channels": 36}, {"cross_width": 0}, r"value.weight is 36 x 17, .* 17 x 17: no .* equally wide"),
        ({"qk_channels": 32}, {}, r"self.query.weight is 32 x 16, .* 16 x 16: no .* qk_channels"),
        ({"cross_attention_widening_factor": 2}, {}, r"dense1.weight is 32 x 16, .*: no .* all MLPs"),
        ({"num_latents": 9}, {"latents": 6}, r"embeddings.latents is 9 x 16, latents .* model.latents = 9"),
    ],
)
def test_weights_of_transformers_in_another_shape_are_refused(
    peer: dict[str, Any], changes: dict[str, Any], complaint: str
) -> None:
    state = hugging(**peer).state_dict()

    settings = transformers_settings(state, **{**HEADS, "cross_heads": 1}, blocks=3)

    refused(state, replace(settings, **changes), complaint)


def test_what_transformers_learned_before_the_byte_array_has_no_place() -> None:
    state = hugging().state_dict()
    settings = transformers_settings(state, **{**HEADS, "cross_heads": 1}, blocks=3)
    learned = {"input_preprocessor.convnet_1x1.weight": torch.zeros(8, 3, 1, 1)}

    refused(state | learned, settings, r"1 published .* is input_preprocessor.convnet_1x1.weight \(8 x 3 x 1")


@pytest.mark.parametrize("mapped", [from_lucidrains, from_transformers])
def test_something_else_altogether_is_refused(mapped: Any) -> None:
    with pytest.raises(ValueError, match=r"have no (embeddings\.)?latents: hand over the whole"):
        mapped({"weight": torch.zeros(2)}, model_of(ModelSettings(bands=BANDS)), channels=OURS)


@pytest.mark.parametrize("channels", [range(CHANNELS - 1), [0] * CHANNELS, range(1, CHANNELS + 1)])
def test_channels_that_are_no_order_are_refused(channels: Any) -> None:
    state = lucidrains().state_dict()

    refused(
        state, lucidrains_settings(state, **HEADS), r"each of the byte array's 17 channels", channels=channels
    )


def test_a_model_of_several_modalities_is_refused() -> None:
    state = lucidrains().state_dict()
    settings = lucidrains_settings(state, **HEADS)
    image = ImageSpec.of(settings, height=SIZE[0], width=SIZE[1], mean=MEAN, std=STD)
    mesh = MeshSpec.of(settings, points=8, normals=False)
    model = Perceiver(settings, {"image": image, "mesh": mesh}, 5)

    with pytest.raises(ValueError, match="one modality, the model image, mesh"):
        from_lucidrains(state, model, channels=range(model.channels))
