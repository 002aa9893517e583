"""The log-mel spectrogram, from torch.stft and a filterbank of our own (torchaudio is no dependency)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

FLOOR = 1e-6
"""Added before the logarithm, in power relative to the training split's mean power."""


def mel_of(hertz: float) -> float:
    """The mel scale after O'Shaughnessy (the "HTK" formula)."""
    return 2595.0 * math.log10(1.0 + hertz / 700.0)


def filterbank(rate: int, length: int, mels: int, low: float, high: float) -> Float[Tensor, "bins {mels}"]:
    """Triangles of height 1 whose corners lie evenly on the mel scale, sampled at the bins of an FFT."""
    corners = torch.linspace(mel_of(low), mel_of(high), mels + 2, dtype=torch.float64)
    corners = 700.0 * (10.0 ** (corners / 2595.0) - 1.0)
    bins = torch.linspace(0, rate / 2, length // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]
    rising, falling = (bins - left) / (centre - left), (right - bins) / (right - centre)
    return torch.minimum(rising, falling).clamp(min=0).to(torch.float32)


def log_mel(
    wave: Float[Tensor, "B T"], window: Float[Tensor, " W"], bank: Float[Tensor, "bins mels"], hop: int
) -> Float[Tensor, "B frames mels"]:
    """Frame i is centred on sample i * hop; there are T // hop of them."""
    length = window.shape[0]
    spectrum = torch.stft(
        wave, length, hop, window=window, center=True, pad_mode="constant", return_complex=True
    )
    power = (spectrum.real.square() + spectrum.imag.square()) / window.square().sum()
    return torch.log(power[..., : wave.shape[1] // hop].transpose(1, 2) @ bank + FLOOR)
