"""The sound track of a clip."""

import av
import numpy as np

from preprocessing.decoders.container import check_decoder, check_whole, opened
from preprocessing.decoders.mixing import Samples, mixed, most_samples
from preprocessing.refusal import Refused
from preprocessing.settings import AudioSettings

# What may lie in a file that is named like a clip or like compressed sound; no playlist, no picture.
FORMATS = "mov,matroska,avi,flv,mpeg,mpegts,asf,ogg,aac,loas,mp3,wav,flac,aiff"


def read(data: bytes, settings: AudioSettings) -> tuple[Samples, int]:
    """Samples [T, channels] and rate of the first sound track, at most `max_seconds` of it."""
    check_whole(data)
    with opened(data, FORMATS) as clip:
        if not clip.streams.audio:
            raise Refused("no_content", "the clip has no sound track")
        stream = clip.streams.audio[0]
        check_decoder(stream)
        rate, count = stream.rate or 0, stream.channels
        missing = most_samples(count, rate, None, settings)
        # Decoders give samples as integers or floats, interleaved or not; this changes the form alone.
        form = av.AudioResampler(format="flt", layout=stream.layout, rate=rate)
        pieces: list[Samples] = []
        for frame in clip.decode(stream):
            for part in form.resample(frame):
                samples = part.to_ndarray().reshape(-1, count).astype(np.float32, copy=False)
                pieces.append(mixed(samples, settings.channels))
                missing -= len(samples)
            if missing <= 0:
                break
        if not pieces:
            raise Refused("no_content", "the clip's sound track holds no sample")
    return np.concatenate(pieces), rate
