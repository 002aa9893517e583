"""Audio: int16 [T, channels] -> positions along time (raw) or over time and frequency (log-mel).

Shapes: B samples, T audio samples of the window, Ch audio channels.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from perceiver.draws import uniforms
from perceiver.mel import filterbank, log_mel
from perceiver.positions import Grid
from perceiver.segment import Arrays, Geometry, Input, Raw, Seeds, Segment, uniform_arrays
from perceiver.settings import ModelSettings
from perceiver.train_settings import AudioAugmentation, TrainSettings
from perceiver.windows import real, windows


@dataclass(frozen=True, kw_only=True)
class Mel:
    bins: int
    """Mel bins from 20 Hz to half the rate."""
    window: int
    """Samples of one Fourier transform."""
    hop: int
    """Samples from one frame to the next."""


@dataclass(frozen=True, kw_only=True)
class AudioSpec:
    rate: int
    """Samples per second."""
    samples: int
    """Samples of the window that the model hears."""
    channels: int
    """Channels of the recording."""
    std: float
    """Standard deviation over the training split, in stored units (int16); the mean is taken as 0."""
    mel: Mel | None
    """How the log-mel spectrogram is made; none: the model hears the waveform."""
    patch: int
    """Waveform: samples per position."""
    frames: int
    """Spectrogram: frames per position."""
    bins: int
    """Spectrogram: mel bins per position."""
    bands: int
    """Fourier bands per axis."""
    max_frequency: float
    """Twice the highest frequency; 0: the number of positions along each axis."""

    @property
    def step(self) -> int:
        """Samples from one position to the next in time."""
        return self.patch if self.mel is None else self.mel.hop * self.frames

    @property
    def sizes(self) -> tuple[int, ...]:
        """Positions along time, and along frequency where there is more than one."""
        time = self.samples // self.step
        along = 1 if self.mel is None else self.mel.bins // self.bins
        return (time, along) if along > 1 else (time,)

    def __post_init__(self) -> None:
        if self.samples % self.step or not self.samples:
            fits = max(1, self.samples // self.step) * self.step / self.rate
            raise ValueError(
                f"the window of {self.samples} samples is no multiple of the {self.step} samples of a "
                "position (model.audio.patch, or hop x model.audio.frames): "
                f"data.audio.seconds = {fits:g} would fit"
            )
        if self.mel and self.mel.bins % self.bins:
            raise ValueError(f"model.audio.bins ({self.bins}) does not divide the {self.mel.bins} mel bins")
        if self.mel and self.mel.window > self.samples:
            raise ValueError(
                f"a transform of {self.mel.window} samples is longer than the window of {self.samples}: "
                "shorten the transform or lengthen data.audio.seconds"
            )

    @classmethod
    def of(  # noqa: PLR0913, one word a fact
        cls,
        model: ModelSettings,
        *,
        rate: int,
        seconds: float,
        channels: int,
        std: float,
        form: Literal["raw", "mel"],
        mels: int,
        window: int,
        hop: int,
    ) -> "AudioSpec":
        """What the model settings make of such recordings, the window rounded down to whole positions.

        `mels`, `window` and `hop` (samples) are read only where the form is mel.
        """
        tokens = model.audio
        bands, top = model.bands_of(tokens)
        mel = Mel(bins=mels, window=window, hop=hop) if form == "mel" else None
        step = tokens.patch if mel is None else mel.hop * tokens.frames
        samples = max(1, round(seconds * rate) // step) * step
        return cls(
            rate=rate,
            samples=samples,
            channels=channels,
            std=std,
            mel=mel,
            patch=tokens.patch,
            frames=tokens.frames,
            bins=tokens.bins,
            bands=bands,
            max_frequency=top,
        )


class AudioInput(Input):
    """The byte array of a sound; what lies around a short one is masked."""

    hann: Tensor
    bank: Tensor

    def __init__(self, spec: AudioSpec) -> None:
        super().__init__()
        self.spec = spec
        values = (spec.patch if spec.mel is None else spec.frames * spec.bins) * spec.channels
        self.grid = Grid(spec.sizes, spec.bands, spec.max_frequency)
        if spec.mel is not None:
            bank = filterbank(spec.rate, spec.mel.window, spec.mel.bins, 20.0, spec.rate / 2)
            self.register_buffer("hann", torch.hann_window(spec.mel.window), persistent=False)
            self.register_buffer("bank", bank, persistent=False)
        self.geometry = Geometry.on(self.grid, values)

    def collate(self, arrays: Arrays, seeds: Seeds | None) -> Raw:
        uniform_arrays(arrays, (-1, self.spec.channels), "audio")
        return windows(arrays, self.spec.samples, seeds)

    def augment(self, raw: Raw, seeds: Seeds, settings: TrainSettings) -> Raw:
        """SpecAugment: hide parts of the spectrogram, which is made here then.

        Windows are drawn by `collate`; a change of level would do nothing: every clip has its own taken out.
        """
        chosen = settings.audio
        if self.spec.mel is not None and (chosen.time_masks or chosen.bin_masks):
            levels = self.spectrogram(raw, self.spec.mel)
            raw = raw._replace(values=self._hidden(levels, seeds, chosen))
        return raw

    def _hidden(
        self, levels: Float[Tensor, "B frames mels Ch"], seeds: Seeds, chosen: AudioAugmentation
    ) -> Float[Tensor, "B frames mels Ch"]:
        frames, mels = levels.shape[1:3]
        hidden = torch.zeros(levels.shape[:3], dtype=torch.bool, device=levels.device)
        for number in range(chosen.time_masks):
            hidden |= _stretch(seeds, f"time mask {number}", frames, chosen.time_share)[:, :, None]
        for number in range(chosen.bin_masks):
            hidden |= _stretch(seeds, f"bin mask {number}", mels, chosen.bin_share)[:, None, :]
        return levels.masked_fill(hidden[..., None], 0.0)

    def spectrogram(self, raw: Raw, mel: Mel) -> Float[Tensor, "B frames mels Ch"]:
        """Log-mel levels, each clip's own mean 0 and deviation 1 over what is real; 0 outside.

        Per clip, so that neither a recording's level nor a statistic over the split matters.
        """
        wave = self.silenced(raw).transpose(1, 2)  # B Ch T
        levels = log_mel(wave.flatten(0, 1), self.hann, self.bank, mel.hop)
        levels = levels.unflatten(0, wave.shape[:2]).permute(0, 2, 3, 1)
        within = real(raw.spans, self.spec.samples, mel.hop)[:, :, None, None]
        count = (within.sum(1, keepdim=True) * levels[0, 0].numel()).clamp(min=1)
        mean = torch.where(within, levels, 0.0).sum((1, 2, 3), keepdim=True) / count
        centred = torch.where(within, levels - mean, 0.0)
        deviation = (centred.square().sum((1, 2, 3), keepdim=True) / count).sqrt()
        return centred / (deviation + 1e-3)

    def levelled(self, raw: Raw) -> Float[Tensor, "B T Ch"]:
        """The waveform divided by the root of its mean square within the clip; silence stays silence."""
        wave = self.silenced(raw)
        count = real(raw.spans, self.spec.samples).sum(1)[:, None, None].clamp(min=1) * self.spec.channels
        return wave / (wave.square().sum((1, 2), keepdim=True) / count).sqrt().clamp(min=1e-3)

    def silenced(self, raw: Raw) -> Float[Tensor, "B T Ch"]:
        """The waveform at unit deviation, exactly 0 outside of the clip."""
        values = raw.values.to(torch.float32) / max(self.spec.std, 1.0)
        return torch.where(real(raw.spans, self.spec.samples)[..., None], values, 0.0)

    def forward(self, raw: Raw) -> Segment:
        spec = self.spec
        mask = real(raw.spans, spec.samples, spec.step)
        mask = mask.repeat_interleave(self.geometry.positions // spec.sizes[0], 1)
        if spec.mel is None:
            values = self.levelled(raw).unflatten(1, (-1, spec.patch)).flatten(2)
            return Segment(values, self.grid.axes, mask=mask)
        levels = raw.values if raw.values.ndim == 4 else self.spectrogram(raw, spec.mel)
        tiles = levels.unflatten(2, (-1, spec.bins)).unflatten(1, (-1, spec.frames))  # B t frames f bins Ch
        values = tiles.transpose(2, 3).flatten(3).flatten(1, 2)
        return Segment(values, self.grid.axes, mask=mask)


def _stretch(seeds: Int64[Tensor, " B"], purpose: str, size: int, share: float) -> Bool[Tensor, "B {size}"]:
    width = (uniforms(seeds, f"{purpose} width", 1) * (share * size + 1)).floor()
    start = (uniforms(seeds, f"{purpose} start", 1) * (size - width + 1)).floor()
    place = torch.arange(size, device=seeds.device)
    return (place >= start) & (place < start + width)
