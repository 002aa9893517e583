"""Weights published elsewhere, as a state that a Perceiver of the same shape loads with strict=True.

From perceiver-pytorch (lucidrains; `Perceiver`, 0.11.0) and from transformers (`PerceiverModel`, 5.23.0).
Parameters are renamed, a channel axis is put in order, and nothing is computed: the logits are theirs.

    here                   perceiver-pytorch          transformers
    latents                latents                    embeddings.latents
    cross_attends.i.       layers.i.                  encoder.cross_attention.   then as in CROSS_ATTEND
    transformers.i.j.      layers.i.self_attns.j.     encoder.self_attends.j.    then as in SELF_ATTEND
    head_norm              to_logits.1                kept as it is here
    head                   to_logits.2                kept as it is here

What perceiver-pytorch has no bias for gets one of 0. The decoder of transformers, one more cross-attend, has
no place here: the mean of the latents and the head follow instead, and that head is still to be trained.

What shapes do not show has to be set as it was in training: `model.heads`, `model.cross-heads`, the highest
frequency of the bands, how the data was normalised. Nor do they show inverted_cross_attn,
use_query_residual = False and a hidden_act other than gelu: with these the logits here are others.
"""

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import torch
from torch import Tensor

from perceiver.model import Perceiver
from perceiver.settings import ModelSettings

State = Mapping[str, Tensor]
Pairs = list[tuple[str, str]]
"""Names of parameters: here, there."""
Table = tuple[tuple[str, str, str], ...]

# fmt: off
CROSS_ATTEND: Table = (
    # here               perceiver-pytorch             transformers
    ("latent_norm",      "cross_attn.norm",            "attention.self.layernorm1"),
    ("byte_norm",        "cross_attn.norm_context",    "attention.self.layernorm2"),
    ("attention.query",  "cross_attn.fn.to_q",         "attention.self.query"),
    ("attention.key",    "cross_attn.fn.to_kv.key",    "attention.self.key"),      # to_kv: first half, then
    ("attention.value",  "cross_attn.fn.to_kv.value",  "attention.self.value"),    # second half of its rows
    ("attention.out",    "cross_attn.fn.to_out",       "attention.output.dense"),
    ("mlp.0",            "cross_ff.norm",              "layernorm"),
    ("mlp.1",            "cross_ff.fn.net.0",          "mlp.dense1"),
    ("mlp.3",            "cross_ff.fn.net.2",          "mlp.dense2"),
)
SELF_ATTEND: Table = (
    # here               perceiver-pytorch             transformers
    ("norm",             "0.norm",                     "attention.self.layernorm1"),
    ("attention.query",  "0.fn.to_q",                  "attention.self.query"),
    ("attention.key",    "0.fn.to_kv.key",             "attention.self.key"),
    ("attention.value",  "0.fn.to_kv.value",           "attention.self.value"),
    ("attention.out",    "0.fn.to_out",                "attention.output.dense"),
    ("mlp.0",            "1.norm",                     "layernorm"),
    ("mlp.1",            "1.fn.net.0",                 "mlp.dense1"),
    ("mlp.3",            "1.fn.net.2",                 "mlp.dense2"),
)
# fmt: on
LUCIDRAINS, TRANSFORMERS = 1, 2  # columns of these tables
BYTE_CHANNELS = (
    "*.byte_norm.*",
    "cross_attends.*.attention.key.weight",
    "cross_attends.*.attention.value.weight",
)
"""Parameters here whose last axis counts the channels of the byte array."""


class Cure(NamedTuple):
    """What to say of a parameter here whose shape is not the published one."""

    pattern: str
    """Of the parameter's name."""
    settings: tuple[str, ...]
    """The model settings that make its shape."""
    otherwise: str = "no setting fits"
    """Said where these settings are as published already."""


CURES = (
    Cure("latents", ("latents", "width")),
    Cure("*.byte_norm.*", (), "give the byte array as many channels (model.bands, the modality's patch)"),
    Cure("*.mlp.*", ("mlp", "widening"), "no setting fits: all MLPs are equally wide here"),
    Cure(
        "cross_attends.*",
        ("cross_width",),
        "no setting fits: query, key and value of a cross-attend are equally wide here",
    ),
    Cure(
        "transformers.*",
        (),
        "no setting fits: query, key and value of the latents are model.width wide here, and so has to be "
        "latent_dim_head x latent_heads (perceiver-pytorch) or qk_channels (transformers)",
    ),
    Cure("head.*", (), "build the model for as many classes"),
)
"""The first whose pattern fits is said."""


def lucidrains_channels(*, data: int, axes: int, bands: int) -> list[int]:
    """Where each channel of a byte array here stands in perceiver-pytorch's (fourier_encode_data=True).

    Here: data, then per axis [x, sin, cos]; there: data, then per axis [sin, cos, x]. `data` counts the
    channels before the positions: 3 for an image whose every pixel is a position.
    """
    starts = range(data, data + axes * (2 * bands + 1), 2 * bands + 1)
    return [*range(data), *(start + place for start in starts for place in (2 * bands, *range(2 * bands)))]


def transformers_channels(*, data: int, axes: int, bands: int) -> list[int]:
    """Where each channel of a byte array here stands in transformers' (Fourier positions, concatenated).

    Here: data, then per axis [x, sin, cos]; there: data, then [x of all axes, sin of all, cos of all].
    """
    sines = data + axes
    cosines = sines + axes * bands
    channels = list(range(data))
    for axis in range(axes):
        first = axis * bands
        channels += [data + axis, *range(sines + first, sines + first + bands)]
        channels += range(cosines + first, cosines + first + bands)
    return channels


def lucidrains_settings(
    state: State, *, heads: int, cross_heads: int, bands: int, max_frequency: float
) -> ModelSettings:
    """The settings that these weights fit, given latent_heads, cross_heads, num_freq_bands and max_freq."""
    seen = _lucidrains_shapes(_halved(state))
    return ModelSettings(
        **seen, heads=heads, cross_heads=cross_heads, bands=bands, max_frequency=max_frequency
    )


def transformers_settings(
    state: State, *, heads: int, cross_heads: int, blocks: int, bands: int, max_frequency: float
) -> ModelSettings:
    """The settings that these weights fit, given the config's num_self_attention_heads,
    num_cross_attention_heads and num_blocks, and the preprocessor's num_bands and max_resolution.
    """
    seen = _transformers_shapes(_of_perceiver_model(state), blocks)
    return ModelSettings(
        **seen, heads=heads, cross_heads=cross_heads, bands=bands, max_frequency=max_frequency
    )


def from_lucidrains(state: State, model: Perceiver, *, channels: Sequence[int]) -> dict[str, Tensor]:
    """`perceiver_pytorch.Perceiver.state_dict()` as a state of `model`, logits the same.

    `channels`: where each channel of the model's byte array stands in theirs: `lucidrains_channels(...)`,
    or `range(model.channels)` where they were fed this model's byte array (fourier_encode_data=False).
    With weight_tie_layers the first of their blocks has its own latent transformer, which `model.sharing`
    cannot say: "none" takes a copy for each block.
    """
    published = _halved(state)
    shapes = _lucidrains_shapes(published)
    pairs = [("latents", "latents")]
    for block, cross, transformer in _blocks(model):
        pairs += _renamed(f"{cross}.", f"layers.{block}.", CROSS_ATTEND, LUCIDRAINS)
        for layer in range(model.settings.layers):
            theirs = f"layers.{block}.self_attns.{layer}."
            pairs += _renamed(f"{transformer}.{layer}.", theirs, SELF_ATTEND, LUCIDRAINS)
    pairs += _leaves("head_norm", "to_logits.1") + _leaves("head", "to_logits.2")
    return _placed(model, published, pairs, channels, shapes)


def from_transformers(state: State, model: Perceiver, *, channels: Sequence[int]) -> dict[str, Tensor]:
    """`transformers.PerceiverModel.state_dict()` as a state of `model`, the mean of the latents the same.

    Also of the models made of it (`PerceiverForImageClassificationFourier`); their decoder is left out, and
    head and head_norm are the model's own. `channels`: as for `from_lucidrains`, by
    `transformers_channels(...)`. Their one cross-attend makes one block here, whose layers are the
    self-attends num_blocks times over, each time a copy.
    """
    published = _of_perceiver_model(state)
    attends = _count(published, "encoder.self_attends") or 1
    shapes = _transformers_shapes(published, max(1, round(model.settings.layers / attends)))
    pairs = [("latents", "embeddings.latents")]
    pairs += _renamed("cross_attends.0.", "encoder.cross_attention.", CROSS_ATTEND, TRANSFORMERS)
    for layer in range(model.settings.layers):
        theirs = f"encoder.self_attends.{layer % attends}."
        pairs += _renamed(f"transformers.0.{layer}.", theirs, SELF_ATTEND, TRANSFORMERS)
    heads = {name: tensor for name, tensor in model.state_dict().items() if name.startswith("head")}
    return {**_placed(model, published, pairs, channels, shapes), **heads}


def _halved(state: State) -> dict[str, Tensor]:
    """to_kv as to_kv.key and to_kv.value, and the biases that perceiver-pytorch has not as zeros."""
    halved: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.endswith(".to_kv.weight"):
            parts = zip(("key", "value"), tensor.chunk(2), strict=True)
            halved |= {name.replace("to_kv.", f"to_kv.{half}."): part for half, part in parts}
        else:
            halved[name] = tensor
    biased = [name for name in halved if name.endswith((".to_q.weight", ".key.weight", ".value.weight"))]
    zeros = {name.replace("weight", "bias"): halved[name].new_zeros(len(halved[name])) for name in biased}
    return {**halved, **zeros}


def _of_perceiver_model(state: State) -> dict[str, Tensor]:
    """The parameters of the PerceiverModel itself, wherever it stands, without its decoder."""
    own = {name.removeprefix("perceiver."): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in own.items() if not name.startswith("decoder.")}


def _lucidrains_shapes(published: State) -> dict[str, Any]:
    """The model settings that show in these weights."""
    latents, width = _found(published, "latents").shape
    return {
        "latents": latents,
        "width": width,
        "blocks": _count(published, "layers"),
        "layers": _count(published, "layers.0.self_attns"),
        "cross_width": len(_found(published, "layers.0.cross_attn.fn.to_q.weight")),
        "sharing": "none",
        "mlp": "geglu",
        "widening": _found(published, "layers.0.cross_ff.fn.net.2.weight").shape[1] // width,
        "head_norm": True,
    }


def _transformers_shapes(published: State, blocks: int) -> dict[str, Any]:
    """The model settings that show in these weights and in the number of their blocks."""
    latents, width = _found(published, "embeddings.latents").shape
    return {
        "latents": latents,
        "width": width,
        "blocks": 1,
        "layers": _count(published, "encoder.self_attends") * blocks,
        "cross_width": len(_found(published, "encoder.cross_attention.attention.self.query.weight")),
        "mlp": "gelu",
        "widening": len(_found(published, "encoder.self_attends.0.mlp.dense1.weight")) // width,
    }


def _found(published: State, name: str) -> Tensor:
    if name not in published:
        raise ValueError(
            f"the published weights have no {name}: hand over the whole state_dict() of a "
            "perceiver_pytorch.Perceiver or a transformers.PerceiverModel"
        )
    return published[name]


def _count(published: State, modules: str) -> int:
    """How many parts a numbered list of modules has."""
    return len(
        {name[len(modules) + 1 :].split(".")[0] for name in published if name.startswith(f"{modules}.")}
    )


def _blocks(model: Perceiver) -> Iterator[tuple[int, str, str]]:
    """Every block with the cross-attend and the latent transformer that it uses."""
    cross, transformers = len(model.cross_attends) - 1, len(model.transformers) - 1
    for block in range(model.settings.blocks):
        yield block, f"cross_attends.{min(block, cross)}", f"transformers.{min(block, transformers)}"


def _renamed(ours: str, theirs: str, table: Table, column: int) -> Pairs:
    return [pair for row in table for pair in _leaves(f"{ours}{row[0]}", f"{theirs}{row[column]}")]


def _leaves(ours: str, theirs: str) -> Pairs:
    return [(f"{ours}.{leaf}", f"{theirs}.{leaf}") for leaf in ("weight", "bias")]


def _placed(
    model: Perceiver, published: State, pairs: Pairs, channels: Sequence[int], shapes: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Every published parameter under its name here, in its order here."""
    _require_same_build(model, channels, shapes)
    wanted = model.state_dict()
    placed: dict[str, Tensor] = {}
    for ours, theirs in pairs:
        tensor = _found(published, theirs)
        if tensor.shape != wanted[ours].shape:
            raise ValueError(
                f"{theirs} is {_size(tensor)}, {ours} of the model {_size(wanted[ours])}: "
                f"{_cure(ours, model, shapes)}"
            )
        if any(fnmatch(ours, pattern) for pattern in BYTE_CHANNELS):
            tensor = tensor[..., list(channels)]
        if ours in placed and not torch.equal(placed[ours], tensor):
            raise ValueError(
                f"{theirs} is not what an earlier block has, and model.sharing = "
                f"{model.settings.sharing} makes one of them: set model.sharing = none"
            )
        placed[ours] = tensor
    spare = sorted(published.keys() - {theirs for _, theirs in pairs})
    if spare:
        raise ValueError(
            f"{len(spare)} published parameters have no place in a Perceiver here, the first is {spare[0]} "
            f"({_size(published[spare[0]])}): no setting fits"
        )
    return placed


def _require_same_build(model: Perceiver, channels: Sequence[int], shapes: Mapping[str, Any]) -> None:
    if len(model.encodings):
        raise ValueError(f"published weights read one modality, the model {', '.join(model.specs)}")
    if sorted(channels) != list(range(model.channels)):
        raise ValueError(
            f"channels has to name each of the byte array's {model.channels} channels once "
            f"(0 to {model.channels - 1}), it has {len(channels)} entries: see lucidrains_channels and "
            "transformers_channels, with model.bands"
        )
    for name in ("blocks", "layers", "head_norm"):
        has = getattr(model.settings, name)
        if shapes.get(name, has) != has:
            raise ValueError(
                f"the published weights have {name} = {shapes[name]}, the model {has}: "
                f"set model.{name.replace('_', '-')} = {shapes[name]}"
            )


def _cure(parameter: str, model: Perceiver, shapes: Mapping[str, Any]) -> str:
    cure = next(cure for cure in CURES if fnmatch(parameter, cure.pattern))
    apart = [name for name in cure.settings if shapes[name] != _setting(model, name)]
    values = " and ".join(f"model.{name.replace('_', '-')} = {shapes[name]}" for name in apart)
    return f"set {values}" if apart else cure.otherwise


def _setting(model: Perceiver, name: str) -> object:
    """As set, the 0 of model.cross-width as it is understood."""
    value = getattr(model.settings, name)
    return model.channels if name == "cross_width" and value == 0 else value


def _size(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape))
