"""The Perceiver: latents that read byte arrays of any modality, again and again (arXiv 2103.03206).

Shapes: B samples, N latents, M positions of all modalities, D latent width, C channels, K classes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from perceiver.attention import CrossAttend, SelfAttend
from perceiver.dropping import dropped
from perceiver.forms.choice import Reader, chosen, prepared
from perceiver.forms.source import Source
from perceiver.forms.textbook import Textbook
from perceiver.inputs import Spec, build_input
from perceiver.segment import Arrays, Input, Raw, Segment
from perceiver.settings import Form, Labels, ModelSettings
from perceiver.train_settings import TrainSettings

Sample = Mapping[str, np.ndarray[Any, np.dtype[Any]]]
Batch = Mapping[str, Raw]


class Perceiver(nn.Module):
    """Byte arrays in, logits out; weights shared as the settings say."""

    def __init__(
        self, settings: ModelSettings, inputs: Mapping[str, Spec], classes: int, labels: Labels = "one"
    ) -> None:
        super().__init__()
        if not inputs:
            raise ValueError("a Perceiver needs at least one modality")
        self.settings, self.specs, self.classes = settings, dict(inputs), classes
        self.labels: Labels = labels
        """How many of the classes a sample may belong to: the key of what trains it, in OBJECTIVES."""
        self.recompute = False
        """Whether training keeps only the latents between layers."""
        built = {modality: build_input(modality, spec) for modality, spec in inputs.items()}
        self.inputs = nn.ModuleDict(built)
        self.geometries = {modality: part.geometry for modality, part in built.items()}
        self.positions = sum(part.positions for part in self.geometries.values())
        widest = max(part.channels for part in self.geometries.values())
        several = len(built) > 1
        self.channels = widest + settings.encoding if several else widest
        spare = {name: self.channels - part.channels for name, part in self.geometries.items() if several}
        self.encodings = nn.ParameterDict({name: torch.empty(count) for name, count in spare.items()})
        self.inner = settings.cross_width or self.channels
        self.latents = nn.Parameter(torch.empty(settings.latents, settings.width))
        self.cross_attends = nn.ModuleList(self._cross_attend() for _ in range(_cross_attends(settings)))
        self.transformers = nn.ModuleList(
            self._transformer() for _ in range(settings.blocks if settings.sharing == "none" else 1)
        )
        self.head_norm = nn.LayerNorm(settings.width) if settings.head_norm else nn.Identity()
        self.head = nn.Linear(settings.width, classes)
        self.forms("cpu")  # refuses a form that does not fit before anything is trained
        self._initialise()

    def _transformer(self) -> nn.Sequential:
        s = self.settings
        return nn.Sequential(
            *(
                SelfAttend(width=s.width, heads=s.heads, mlp=s.mlp, widening=s.widening)
                for _ in range(s.layers)
            )
        )

    def _cross_attend(self) -> CrossAttend:
        settings = self.settings
        if self.inner % settings.cross_heads:
            fits = -(-self.inner // settings.cross_heads) * settings.cross_heads
            raise ValueError(
                f"model.cross-heads ({settings.cross_heads}) does not divide the {self.inner} channels of "
                f"the byte array: set model.cross-width = {fits}"
            )
        return CrossAttend(
            width=settings.width,
            channels=self.channels,
            inner=self.inner,
            heads=settings.cross_heads,
            mlp=settings.mlp,
            widening=settings.widening,
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
        segments = self.segments(batch)
        byte_array = self.prepared(segments)
        latents = self.latents.expand(len(segments[0].values), -1, -1)
        for cross_attend, transformer in self.blocks():
            latents = self.layer(cross_attend, latents, byte_array)
            for self_attend in transformer:
                latents = self.layer(self_attend, latents)
        return cast(Tensor, self.head(self.head_norm(latents.mean(1))))

    def layer(self, attend: nn.Module, *inputs: Any) -> Float[Tensor, "B N D"]:
        """Latents after one layer, which is computed again in the backward pass where `recompute` says so."""
        if self.recompute and torch.is_grad_enabled():
            return cast(Tensor, checkpoint(attend, *inputs, use_reentrant=False, preserve_rng_state=False))
        return cast(Tensor, attend(*inputs))

    def blocks(self) -> Iterator[tuple[CrossAttend, nn.Sequential]]:
        """Cross-attend and latent transformer of each block, those that share weights again and again."""
        for block in range(self.settings.blocks):
            cross_attend = self.cross_attends[min(block, len(self.cross_attends) - 1)]
            transformer = self.transformers[min(block, len(self.transformers) - 1)]
            yield cast(CrossAttend, cross_attend), cast(nn.Sequential, transformer)

    def forms(self, device: str) -> dict[str, Form]:
        """How each modality is read on a device of this kind ("cpu", "cuda")."""
        settings = self.settings
        reader = Reader(settings.latents, settings.cross_heads, self.inner, self.channels)
        return chosen(settings.attention, self.geometries, reader, device)

    @torch.no_grad()
    def attended(
        self, batch: Batch, blocks: Collection[int] | None = None
    ) -> Iterator[dict[str, Float[Tensor, "B N M"]]]:
        """Where each latent looked: for every cross-attend in order, weights over each modality's positions.

        Mean over the heads; over all modalities together they sum to 1; masked positions have 0. This is the
        matrix that training never makes, B N M numbers for each cross-attend: take them one at a time, and
        name the `blocks` (from 0) where not all are wanted.
        """
        segments = self.segments(batch)
        joined, byte_array = Textbook(segments), self.prepared(segments)
        sizes = [part.positions for part in self.geometries.values()]
        latents = self.latents.expand(len(joined.rows), -1, -1)
        for block, (cross_attend, transformer) in enumerate(self.blocks()):
            if blocks is None or block in blocks:
                queries = cross_attend.queries(latents)
                weights = joined.weights(queries, cross_attend.projections).mean(1).split(sizes, 2)
                yield dict(zip(self.inputs, weights, strict=True))
            latents = transformer(cross_attend(latents, byte_array))

    def prepared(self, segments: Sequence[Segment]) -> Source:
        """The byte array, ready for every cross-attend."""
        return prepared(segments, list(self.forms(segments[0].values.device.type).values()))

    def segments(self, batch: Batch) -> list[Segment]:
        """Every modality's part of the byte array, its channels filled up by its learned encoding.

        In float32 always: a spectrum or a phase in bfloat16 is wrong in its third digit.
        """
        parts: list[Segment] = []
        for modality, part in self.inputs.items():
            raw = batch[modality]
            with torch.autocast(raw.values.device.type, enabled=False):
                segment = cast(Segment, part(raw))
            if len(self.encodings):
                segment = segment._replace(encoding=self.encodings[modality])
            parts.append(segment if raw.there is None else present(segment, raw.there))
        return parts

    def collate(self, samples: Sequence[Sample], seeds: Int64[Tensor, " B"] | None) -> dict[str, Raw]:
        """Stored arrays -> a batch of static shape on the CPU; seeds in training, none in evaluation."""
        columns = {modality: [sample[modality] for sample in samples] for modality in self.inputs}
        return self.collate_columns(columns, seeds)

    def collate_columns(
        self, columns: Mapping[str, Arrays], seeds: Int64[Tensor, " B"] | None
    ) -> dict[str, Raw]:
        """The same from the arrays of each modality together; one array [B, ...] of all may not be copied."""
        return {
            modality: cast(Input, part).collate(columns[modality], seeds)
            for modality, part in self.inputs.items()
        }

    @torch.no_grad()
    def augment(self, batch: Batch, seeds: Int64[Tensor, " B"], settings: TrainSettings) -> dict[str, Raw]:
        """The batch changed at random, each sample as its own seed says; on the batch's device."""
        changed = {
            modality: cast(Input, part).augment(batch[modality], seeds, settings)
            for modality, part in self.inputs.items()
        }
        return dropped(changed, seeds, settings)


def _cross_attends(settings: ModelSettings) -> int:
    return {"paper": min(2, settings.blocks), "none": settings.blocks, "all": 1}[settings.sharing]


def present(segment: Segment, there: Bool[Tensor, " B"]) -> Segment:
    """The segment, masked altogether in the samples that lack it."""
    there = there[:, None].expand(segment.values.shape[:2])
    return segment._replace(mask=there if segment.mask is None else segment.mask & there)
