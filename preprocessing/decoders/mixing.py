"""From the channels of a file to those that are stored, within bounds; for sound files and sound tracks."""

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.audio_files import check_numbers
from preprocessing.refusal import Refused
from preprocessing.settings import AudioSettings

Samples = NDArray[np.float32]

# Float files may hold 1e38, of which a resampler makes NaN; all of it is clipped to 1.0 in the end.
LOUDEST = np.float32(1e6)


def most_samples(channels: int, rate: int, promised: int | None, settings: AudioSettings) -> int:
    """Samples of each channel that are to be read.

    Raises:
        Refused: the numbers cannot be, or that is more than `max_samples`.
    """
    check_numbers(channels, rate)
    most = int(settings.max_seconds * rate) + 1
    most = most if promised is None else min(most, promised)
    if most * channels > settings.max_samples:
        size = f"{most} samples of {channels} channels"
        raise Refused("too_large", f"{size}; data.audio.max_samples is {settings.max_samples}")
    return most


def mixed(samples: Samples, wanted: int) -> Samples:
    """Finite samples [T, channels] in the wanted number of channels: as they are, or averaged."""
    # NaN is neither; two reductions are cheaper than a look at each sample.
    if samples.size and not (samples.min() >= -LOUDEST and samples.max() <= LOUDEST):
        if bad := int((~np.isfinite(samples)).sum()):
            raise Refused("non_finite", f"{bad} samples are NaN or infinite")
        samples = samples.clip(-LOUDEST, LOUDEST)
    if samples.shape[1] == wanted:
        return samples
    return np.repeat(samples.mean(axis=1, keepdims=True), wanted, axis=1)
