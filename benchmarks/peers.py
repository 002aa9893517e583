"""The public Perceivers, matched to ours: same layout, widths, sharing and, to begin with, same weights.

- lucidrains: perceiver-pytorch 0.11.0. Its 4x GEGLU feed-forward becomes ours (1x GELU) and its latent
  transformers are all tied, so that it does no more work than ours; the LayerNorm before its head goes. It
  has no biases in the projections to queries, keys and values: the one difference that is left.
- transformers: 5.23.0, its PerceiverLayers stacked into the layout of the first Perceiver.
- krasserm: perceiver-io 0.6.0, its PerceiverEncoder as it is. Its import name is `perceiver`, so it lives
  in a process of its own. Its `core/__init__` wants Lightning 1.7 and fairscale, neither of which takes
  part in the network: the one is skipped, the other stood in for.

The last two are Perceiver IO and bring no head of the first Perceiver: they get a mean and a linear layer.

Shapes: B samples, N latents, M positions, D latent width, C channels.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.cases import Case

Built = tuple[nn.Module, Callable[[], Tensor]]
"""The network, and what computes its logits."""

KRASSERM = "0.6.0"
HOME = Path("build") / "peers" / f"perceiver-io-{KRASSERM}"


def built(who: str, case: Case, ready: Tensor, weights: Sequence[Tensor] = ()) -> Built:
    """One peer on one byte array, with our weights if there are any."""
    torch.manual_seed(0)
    network, order, shown = NETWORKS[who](case, ready)
    if weights:
        with torch.no_grad():
            for mine, theirs in zip(order(weights), network.parameters(), strict=True):
                theirs.copy_(mine)
    return network, lambda: network(shown)


def missing(case: Case, who: str, channels: int) -> int:
    """Parameters that a peer has less than ours."""
    if not who.startswith("lucidrains"):
        return 0
    return 3 * channels * min(2, case.blocks) + 3 * case.width * case.layers


# ---------------------------------------------------------------------------------------------- transformers


class Stack(nn.Module):
    """Latents, cross-attends 1 and 2..n, one latent transformer, mean, linear head."""

    def __init__(self, case: Case, cross: Callable[[], nn.Module], attend: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.latents = nn.Parameter(0.02 * torch.randn(case.latents, case.width))
        self.blocks = case.blocks
        self.crosses = nn.ModuleList(cross() for _ in range(min(2, case.blocks)))
        self.attends = nn.ModuleList(attend() for _ in range(case.layers))
        self.head = nn.Linear(case.width, case.classes)

    def forward(self, byte_array: Tensor) -> Tensor:
        latents = self.latents.expand(byte_array.shape[0], -1, -1)
        for block in range(self.blocks):
            latents = self.crosses[min(block, 1)](latents, inputs=byte_array)[0]
            for attend in self.attends:
                latents = attend(latents)[0]
        return self.head(latents.mean(1))


def transformers(case: Case, ready: Tensor) -> "Matched":
    """Hugging Face's layers; parameters come in our order."""
    from transformers import PerceiverConfig
    from transformers.models.perceiver.modeling_perceiver import PerceiverLayer

    config = PerceiverConfig(attention_probs_dropout_prob=0.0, cross_attention_shape_for_attention="kv")

    def layer(**facts: Any) -> nn.Module:
        return PerceiverLayer(config, q_dim=case.width, widening_factor=1, **facts)

    return (
        Stack(
            case,
            lambda: layer(is_cross_attention=True, num_heads=1, kv_dim=ready.shape[-1]),
            lambda: layer(num_heads=case.heads, kv_dim=case.width),
        ),
        list,
        ready,
    )


# ------------------------------------------------------------------------------------------------ lucidrains


def lucidrains(case: Case, ready: Tensor) -> "Matched":
    """As it comes: it makes the Fourier features in its forward, and has them behind the pixels."""
    shown = ready[..., :3].unflatten(1, case.sizes).contiguous()
    network = _lucidrains(
        case, fourier_encode_data=True, input_channels=3, input_axis=2, max_freq=case.sizes[0]
    )
    channels = [0, 1, 2]
    per_axis = 2 * case.bands + 1
    for start in (3, 3 + per_axis):  # there [sin | cos | x], here [x | sin | cos]
        channels += [*range(start + 1, start + per_axis), start]
    return network, lambda weights: _lucidrains_order(case, weights, torch.tensor(channels)), shown


def lucidrains_ready(case: Case, ready: Tensor) -> "Matched":
    """With the byte array made beforehand."""
    network = _lucidrains(
        case, fourier_encode_data=False, input_channels=ready.shape[-1], input_axis=1, max_freq=2.0
    )
    return (
        network,
        lambda weights: _lucidrains_order(case, weights, torch.arange(ready.shape[-1])),
        ready,
    )


def _lucidrains(case: Case, *, input_channels: int, fourier_encode_data: bool, **facts: Any) -> nn.Module:
    from perceiver_pytorch import Perceiver

    channels = input_channels + (2 * (2 * case.bands + 1) if fourier_encode_data else 0)
    network = Perceiver(
        num_freq_bands=case.bands, depth=case.blocks, input_channels=input_channels,
        fourier_encode_data=fourier_encode_data, num_latents=case.latents, latent_dim=case.width,
        cross_heads=1, cross_dim_head=channels, latent_heads=case.heads,
        latent_dim_head=case.width // case.heads, num_classes=case.classes, weight_tie_layers=True,
        self_per_cross_attn=case.layers, **facts,
    )  # fmt: skip
    for block in set(network.layers):
        block.cross_ff.fn.net = _feed_forward(case.width)
        for attend in block.self_attns:
            attend[1].fn.net = _feed_forward(case.width)
        block.self_attns = network.layers[0].self_attns
    network.to_logits[1] = nn.Identity()
    return network


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))


def _lucidrains_order(case: Case, weights: Sequence[Tensor], channels: Tensor) -> list[Tensor]:
    """Its own order: attention before its norms, the latent transformer behind the first cross-attend."""
    latents, crosses, attends, head = _parts(case, weights)
    theirs = [latents]
    for number, cross in enumerate(crosses):
        norm, byte_norm, attention, mlp = cross[:2], cross[2:4], cross[4:12], cross[12:]
        attention = [part[:, channels] if place in (2, 4) else part for place, part in enumerate(attention)]
        theirs += [*_unbiased(attention), *norm, *(part[channels] for part in byte_norm), *mlp[2:], *mlp[:2]]
        if number == 0:
            for attend in attends:
                theirs += [*_unbiased(attend[2:10]), *attend[:2], *attend[12:], *attend[10:12]]
    return [*theirs, *head]


def _unbiased(attention: Sequence[Tensor]) -> list[Tensor]:
    query, _, key, _, value, _, *out = attention
    return [query, torch.cat([key, value]), *out]


def _parts(
    case: Case, weights: Sequence[Tensor]
) -> tuple[Tensor, list[Sequence[Tensor]], list[Sequence[Tensor]], Sequence[Tensor]]:
    """Latents; 18 tensors a cross-attend; 16 a self-attend; the head's two."""
    crosses = min(2, case.blocks)
    end = 1 + 18 * crosses
    return (
        weights[0],
        [weights[1 + 18 * i : 19 + 18 * i] for i in range(crosses)],
        [weights[end + 16 * i : end + 16 * (i + 1)] for i in range(case.layers)],
        weights[end + 16 * case.layers :],
    )


# -------------------------------------------------------------------------------------------------- krasserm


class Headed(nn.Module):
    """Its encoder, then mean and linear head."""

    def __init__(self, encoder: nn.Module, width: int, classes: int) -> None:
        super().__init__()
        self.encoder, self.head = encoder, nn.Linear(width, classes)

    def forward(self, byte_array: Tensor) -> Tensor:
        return self.head(self.encoder(byte_array).mean(1))


def krasserm(case: Case, ready: Tensor) -> "Matched":
    """In this process `perceiver` is his package, not ours."""
    modules = _krasserm_modules()

    class Ready(modules.InputAdapter):
        def forward(self, x: Tensor) -> Tensor:
            return x

    encoder = modules.PerceiverEncoder(
        Ready(ready.shape[-1]), num_latents=case.latents, num_latent_channels=case.width,
        num_cross_attention_heads=1, num_cross_attention_qk_channels=ready.shape[-1],
        num_cross_attention_layers=case.blocks, num_self_attention_heads=case.heads,
        num_self_attention_layers_per_block=case.layers, num_self_attention_blocks=case.blocks,
    )  # fmt: skip

    def order(weights: Sequence[Tensor]) -> list[Tensor]:
        latents, crosses, attends, head = _parts(case, weights)
        inner = [part for attend in attends for part in attend]
        return [latents, *crosses[0], *inner, *(part for cross in crosses[1:] for part in cross), *head]

    return Headed(encoder, case.width, case.classes), order, ready


def _krasserm_modules() -> Any:
    home = fetched()
    if "perceiver" in sys.modules:
        raise RuntimeError("krasserm's package has our name: it needs a process that has not imported ours")
    sys.path.insert(0, str(home))
    core = ModuleType("perceiver.model.core")  # its own __init__ imports Lightning
    core.__path__ = [str(home / "perceiver" / "model" / "core")]
    fairscale = ModuleType("fairscale.nn")
    fairscale.checkpoint_wrapper = None  # type: ignore[attr-defined]  # asked for by name, never called
    sys.modules |= {core.__name__: core, "fairscale": ModuleType("fairscale"), fairscale.__name__: fairscale}
    from perceiver.model.core import modules  # type: ignore[attr-defined]

    return modules


def fetched() -> Path:
    """The package without what it requires, from PyPI; there once, then kept under build/."""
    if not HOME.exists():
        HOME.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=HOME.parent) as folder:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            pip += ["--no-deps", "--ignore-requires-python", "--target", f"{folder}/whole"]
            subprocess.run([*pip, f"perceiver-io=={KRASSERM}"], check=True)
            os.replace(f"{folder}/whole", HOME)  # noqa: PTH105, as short as it gets
    return HOME.absolute()


Matched = tuple[nn.Module, Callable[[Sequence[Tensor]], list[Tensor]], Tensor]
"""The network, our weights in its order, and what it is shown."""

NETWORKS: dict[str, Callable[[Case, Tensor], Matched]] = {
    "lucidrains": lucidrains,
    "lucidrains-ready": lucidrains_ready,
    "transformers": transformers,
    "krasserm": krasserm,
}
