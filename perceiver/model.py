"""The Perceiver: latents that read byte arrays of any modality, again and again (arXiv 2103.03206).

Shapes: B samples, N latents, M positions of all modalities, D latent width, C channels, K classes.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from perceiver.attention import CrossAttend, SelfAttend
from perceiver.inputs import Spec, build_input
from perceiver.segment import Input, Raw, Segment
from perceiver.settings import ModelSettings, TrainSettings

Sample = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
Batch = Mapping[str, Raw]


class Perceiver(nn.Module):
    """Byte arrays in, logits out; weights shared as the settings say."""

    def __init__(self, settings: ModelSettings, inputs: Mapping[str, Spec], classes: int) -> None:
        super().__init__()
        if not inputs:
            raise ValueError("a Perceiver needs at least one modality")
        self.settings, self.specs, self.classes = settings, dict(inputs), classes
        built = {modality: build_input(modality, spec) for modality, spec in inputs.items()}
        self.inputs = nn.ModuleDict(built)
        self.positions = sum(part.positions for part in built.values())
        widest = max(part.channels for part in built.values())
        self.channels = widest if len(built) == 1 else widest + settings.encoding
        spare = {name: self.channels - part.channels for name, part in built.items() if len(built) > 1}
        self.encodings = nn.ParameterDict({name: torch.empty(count) for name, count in spare.items()})
        self.latents = nn.Parameter(torch.empty(settings.latents, settings.width))
        self.cross_attends = nn.ModuleList(self._cross_attend() for _ in range(_cross_attends(settings)))
        self.transformers = nn.ModuleList(
            self._transformer() for _ in range(settings.blocks if settings.sharing == "none" else 1)
        )
        self.head = nn.Linear(settings.width, classes)
        self._initialise()

    def _transformer(self) -> nn.Sequential:
        width, heads = self.settings.width, self.settings.heads
        return nn.Sequential(*(SelfAttend(width=width, heads=heads) for _ in range(self.settings.layers)))

    def _cross_attend(self) -> CrossAttend:
        settings = self.settings
        inner = settings.cross_width or self.channels
        if inner % settings.cross_heads:
            fits = -(-inner // settings.cross_heads) * settings.cross_heads
            raise ValueError(
                f"model.cross-heads ({settings.cross_heads}) does not divide the {inner} channels of the "
                f"byte array: set model.cross-width = {fits}"
            )
        return CrossAttend(
            width=settings.width, channels=self.channels, inner=inner, heads=settings.cross_heads
        )

    def _initialise(self) -> None:
        """Latents and encodings as in Sec. 3.2; the head starts at 0, so that the first loss is log K."""
        for parameter in (self.latents, *self.encodings.values()):
            nn.init.trunc_normal_(parameter, std=0.02, a=-2.0, b=2.0)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.zeros_(self.head.weight)

    def forward(self, batch: Batch) -> Float[Tensor, "B K"]:
        byte_array, mask = joined(self.segments(batch))
        latents = self.latents.expand(byte_array.shape[0], -1, -1)
        for block in range(self.settings.blocks):
            latents = self.cross_attends[min(block, len(self.cross_attends) - 1)](latents, byte_array, mask)
            latents = self.transformers[min(block, len(self.transformers) - 1)](latents)
        return cast(Tensor, self.head(latents.mean(1)))

    def attended(self, batch: Batch) -> list[dict[str, Float[Tensor, "B N M"]]]:
        """Where each latent looked: for every cross-attend in order, weights over each modality's positions.

        Mean over the heads; over all modalities together they sum to 1; masked positions have 0.
        """
        # Temporary and by the textbook: the evaluation without a byte array brings its own.
        segments = self.segments(batch)
        byte_array, mask = joined(segments)
        sizes = [segment.values.shape[1] for segment in segments]
        latents = self.latents.expand(byte_array.shape[0], -1, -1)
        found: list[dict[str, Tensor]] = []
        for block in range(self.settings.blocks):
            cross = cast(CrossAttend, self.cross_attends[min(block, len(self.cross_attends) - 1)])
            heads = cross.attention.heads
            q = cross.attention.query(cross.latent_norm(latents)).unflatten(-1, (heads, -1)).transpose(1, 2)
            k = cross.attention.key(cross.byte_norm(byte_array)).unflatten(-1, (heads, -1)).transpose(1, 2)
            scores = (q @ k.transpose(2, 3)).float() / q.shape[-1] ** 0.5
            if mask is not None:
                scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))
            weights = scores.softmax(-1).mean(1).split(sizes, -1)
            found.append(dict(zip(self.inputs, weights, strict=True)))
            latents = self.transformers[min(block, len(self.transformers) - 1)](
                cross(latents, byte_array, mask)
            )
        return found

    def segments(self, batch: Batch) -> list[Segment]:
        """Every modality's part of the byte array, its channels filled up by its learned encoding.

        In float32 always: a spectrum or a phase in bfloat16 is wrong in its third digit.
        """
        parts: list[Segment] = []
        for modality, part in self.inputs.items():
            raw = batch[modality]
            with torch.autocast(raw.values.device.type, enabled=False):
                segment = cast(Segment, part(raw))
            parts.append(encoded(segment, self.encodings[modality]) if len(self.encodings) else segment)
        return parts

    def collate(self, samples: Sequence[Sample], seeds: Int64[Tensor, " B"] | None) -> dict[str, Raw]:
        """Stored arrays -> a batch of static shape on the CPU; seeds in training, none in evaluation."""
        return {
            modality: cast(Input, part).collate([sample[modality] for sample in samples], seeds)
            for modality, part in self.inputs.items()
        }

    @torch.no_grad()
    def augment(self, batch: Batch, seeds: Int64[Tensor, " B"], settings: TrainSettings) -> dict[str, Raw]:
        """The batch changed at random, each sample as its own seed says; on the batch's device."""
        return {
            modality: cast(Input, part).augment(batch[modality], seeds, settings)
            for modality, part in self.inputs.items()
        }


def _cross_attends(settings: ModelSettings) -> int:
    return {"paper": min(2, settings.blocks), "none": settings.blocks, "all": 1}[settings.sharing]


def encoded(segment: Segment, encoding: Float[Tensor, " E"]) -> Segment:
    """The modality encoding stands behind the position features, the same at every position."""
    column = encoding.expand(segment.values.shape[1], -1)
    table = column if segment.table is None else torch.cat([segment.table, column], 1)
    return segment._replace(table=table)


def joined(segments: Sequence[Segment]) -> tuple[Float[Tensor, "B M C"], Bool[Tensor, "B M"] | None]:
    """The byte array of the textbook evaluation, and where it is real.

    What is masked becomes 0 (a NaN would pass through a weight of 0); a sample with nothing real at all
    reads those zeros, so that it stays finite.
    """
    rows = torch.cat([_rows(segment) for segment in segments], 1)
    if all(segment.mask is None for segment in segments):
        return rows, None
    mask = torch.cat([_mask(segment) for segment in segments], 1)
    rows = torch.where(mask[..., None], rows, 0.0)
    return rows, mask | ~mask.any(1, keepdim=True)


def _rows(segment: Segment) -> Float[Tensor, "B M C"]:
    if segment.table is None:
        return segment.values
    return torch.cat([segment.values, segment.table.expand(segment.values.shape[0], -1, -1)], -1)


def _mask(segment: Segment) -> Bool[Tensor, "B M"]:
    if segment.mask is not None:
        return segment.mask
    return torch.ones(segment.values.shape[:2], dtype=torch.bool, device=segment.values.device)
