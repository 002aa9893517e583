"""A sound file to int16 [T, channels] at one rate: the sound that is there, whole, or a refusal.

Full scale is 1.0; louder samples of float files are clipped. Another number of channels is averaged to one.
"""

import io

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from preprocessing.decoders import sound_track
from preprocessing.decoders.audio_files import check, flac_ends_whole, kind_of, untagged
from preprocessing.decoders.container import boxed
from preprocessing.decoders.mixing import Samples, mixed, most_samples
from preprocessing.decoders.table import CLIPS
from preprocessing.refusal import Refused
from preprocessing.settings import AudioSettings
from preprocessing.source import Source

MPEG_AUDIO = (".m4a", ".aac", *CLIPS)
# Samples of each channel that are decoded at a time.
BLOCK = 2**17
# A FLAC that was written to a pipe does not know its length; libsndfile then says 2^63 - 1.
UNKNOWN_LENGTH = 2**62


class Bytes(io.BytesIO):
    """Stays where it is when a damaged header sends libsndfile before its beginning."""

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class Straight(soundfile.SoundFile):
    """Never seeks: a FLAC of unknown length cannot, and soundfile does after every read."""

    def seekable(self) -> bool:
        return False


def decode(source: Source, settings: AudioSettings) -> NDArray[np.int16]:
    """The sound as it is stored.

    Raises:
        Refused: it cannot be.
    """
    clip = source.suffix in MPEG_AUDIO or boxed(source.data)
    samples, rate = (sound_track.read if clip else read)(source.data, settings)
    if rate != settings.rate:
        samples = soxr.resample(samples, rate, settings.rate, quality="HQ")
    longest = round(settings.max_seconds * settings.rate)
    whole = np.rint(samples[:longest] * 32768.0).clip(-32768, 32767).astype(np.int16)
    if not len(whole):
        raise Refused("no_content", "no sample is left at the stored rate")
    return np.ascontiguousarray(whole.reshape(-1, settings.channels))


def read(data: bytes, settings: AudioSettings) -> tuple[Samples, int]:
    """Samples [T, channels] and rate of a sound file, at most `max_seconds` of it."""
    data = untagged(data)
    kind = kind_of(data)
    check(kind, data)
    try:
        with Straight(Bytes(data)) as file:
            return whole(file, settings), file.samplerate
    except soundfile.LibsndfileError as error:
        raise explained(error, kind, data) from error


def whole(file: soundfile.SoundFile, settings: AudioSettings) -> Samples:
    """All samples that are asked for, decoded and mixed a block at a time to save memory."""
    asked = most_samples(file.channels, file.samplerate, file.frames, settings)
    blocks: list[Samples] = []
    there = 0
    while there < asked:
        block = np.asarray(file.read(min(BLOCK, asked - there), dtype="float32", always_2d=True), np.float32)
        if not len(block):
            break
        there += len(block)
        blocks.append(mixed(block, settings.channels))
    if there < asked and file.frames < UNKNOWN_LENGTH:
        raise Refused("truncated", f"{file.frames} samples promised, {there} are there")
    if not there:
        raise Refused("no_content", "a header and no sample")
    return np.concatenate(blocks)


def explained(error: soundfile.LibsndfileError, kind: str, data: bytes) -> Refused:
    """libsndfile's exception as a reason."""
    text = error.error_string
    if any(word in text.lower() for word in ("unimplemented", "unknown format", "unsupported")):
        return Refused("unsupported", text)
    if kind == "AU" and "not recognised" in text:
        return Refused("unsupported", text)
    if kind == "FLAC" and not flac_ends_whole(data):
        return Refused("truncated", f"{text} Its last frame is not whole.")
    return Refused("corrupt", text)
