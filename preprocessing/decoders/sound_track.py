"""The sound track of a clip."""

import av
import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.container import boxed, ends_inside_box, opened
from preprocessing.refusal import Refused


def read(data: bytes, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    """Samples [T, channels] and rate of the first sound track, at most `max_seconds` of it."""
    if boxed(data) and ends_inside_box(data):
        raise Refused("truncated", "the file ends inside one of its boxes")
    with opened(data) as clip:
        if not clip.streams.audio:
            raise Refused("no_content", "the clip has no sound track")
        stream = clip.streams.audio[0]
        rate, count = stream.rate, stream.channels
        if not rate or not count:
            raise Refused("bad_header", f"a sound track of {count} channels at {rate} Hz")
        # Decoders give samples as integers or floats, interleaved or not; this changes the form alone.
        form = av.AudioResampler(format="flt", layout=stream.layout, rate=rate)
        pieces: list[NDArray[np.float32]] = []
        missing = int(max_seconds * rate) + 1
        for frame in clip.decode(stream):
            for part in form.resample(frame):
                pieces.append(part.to_ndarray().reshape(-1, count).astype(np.float32, copy=False))
                missing -= len(pieces[-1])
            if missing <= 0:
                break
        if not pieces:
            raise Refused("no_content", "the clip's sound track holds no sample")
    return np.concatenate(pieces), rate
