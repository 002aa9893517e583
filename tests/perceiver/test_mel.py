"""The mel spectrogram against the formula, written out once more in plain Python."""

import math

import pytest
import torch

from perceiver.mel import FLOOR, filterbank, log_mel, mel_of


def test_the_mel_scale_has_its_known_values() -> None:
    assert [mel_of(hertz) for hertz in (0.0, 700.0, 1000.0, 8000.0)] == pytest.approx(
        [0, 781.1728, 999.9855, 2840.0230], abs=1e-3
    )


def test_the_filterbank_is_the_textbook_one() -> None:
    rate, length, mels, low, high = 8000, 256, 10, 20.0, 4000.0

    bank = filterbank(rate, length, mels, low, high)

    steps = [mel_of(low) + (mel_of(high) - mel_of(low)) * i / (mels + 1) for i in range(mels + 2)]
    corners = [700 * (10 ** (step / 2595) - 1) for step in steps]
    for bin_ in range(length // 2 + 1):
        hertz = bin_ * rate / length
        for mel, (left, centre, right) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
            inside = left < hertz < right
            side = (hertz - left) / (centre - left) if hertz <= centre else (right - hertz) / (right - centre)
            assert bank[bin_, mel].item() == pytest.approx(side if inside else 0, abs=1e-5)


def test_a_frame_is_the_log_of_its_filtered_power_spectrum() -> None:
    wave, window = torch.randn(1, 800, dtype=torch.float64), torch.hann_window(64, dtype=torch.float64)
    bank = filterbank(8000, 64, 8, 20.0, 4000.0).double()

    levels = log_mel(wave, window, bank, 80)

    piece = wave[0, 3 * 80 - 32 : 3 * 80 + 32] * window
    angles = torch.arange(33).double()[:, None] * torch.arange(64) * (2 * math.pi / 64)
    power = ((piece * angles.cos()).sum(1) ** 2 + (piece * angles.sin()).sum(1) ** 2) / window.square().sum()
    torch.testing.assert_close(levels[0, 3], torch.log(power @ bank + FLOOR))
    assert levels.shape == (1, 10, 8)


def test_a_tone_is_loudest_in_the_bin_around_it() -> None:
    bank = filterbank(16_000, 512, 40, 20.0, 8000.0)
    centres = torch.linspace(mel_of(20.0), mel_of(8000.0), 42)[1:-1]

    for hertz in (300, 1000, 3000):
        tone = torch.sin(2 * math.pi * hertz * torch.arange(16_000) / 16_000)[None]
        loudest = log_mel(tone, torch.hann_window(512), bank, 160)[0, 50].argmax()
        assert abs(centres[loudest] - mel_of(float(hertz))) <= (centres[1] - centres[0])
