"""A sound file to int16 [T, channels] at one rate: the sound that is there, whole, or a refusal.

Full scale is 1.0; louder samples of float files are clipped. Another number of channels is averaged to one.
"""

import io
import struct
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from preprocessing.decoders import sound_track
from preprocessing.decoders.container import boxed
from preprocessing.decoders.table import CLIPS
from preprocessing.refusal import Refused
from preprocessing.settings import AudioSettings
from preprocessing.source import Source

MPEG_AUDIO = (".m4a", ".aac", *CLIPS)
# WAV in four forms, FLAC, Ogg, AIFF and AU; then MP3.
MAGIC = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"OggS", b"FORM", b".snd")
MPEG_MAGIC = (b"ID3", b"\xff\xfb", b"\xff\xf3")
# Sizes that a program writes when it cannot come back to the header: the sound ends with the file.
UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)
HIGHEST_RATE = 1_000_000
# PCM, ADPCM, float, A-law, mu-law, GSM, G.721, MPEG, extensible: what libsndfile reads of WAV.
WAV_FORMATS = (1, 2, 3, 6, 7, 0x11, 0x31, 0x40, 0x45, 0x50, 0x55, 0x64, 0xFFFE)


def decode(source: Source, settings: AudioSettings) -> NDArray[np.int16]:
    """The sound as it is stored.

    Raises:
        Refused: it cannot be.
    """
    clip = source.suffix in MPEG_AUDIO or boxed(source.data)
    samples, rate = (sound_track.read if clip else read)(source.data, settings.max_seconds)
    if not np.isfinite(samples).all():
        raise Refused("non_finite", f"{int((~np.isfinite(samples)).sum())} samples are NaN or infinite")
    mixed = channels(samples, settings.channels)
    if rate != settings.rate:
        mixed = soxr.resample(mixed, rate, settings.rate, quality="HQ")
    longest = round(settings.max_seconds * settings.rate)
    whole = np.rint(mixed[:longest] * 32768.0).clip(-32768, 32767).astype(np.int16)
    if not len(whole):
        raise Refused("no_content", "no sample is left at the stored rate")
    return np.ascontiguousarray(whole.reshape(-1, settings.channels))


def read(data: bytes, max_seconds: float) -> tuple[NDArray[np.float32], int]:
    """Samples [T, channels] and rate of a sound file, at most `max_seconds` of it."""
    if data[:4] == b"RIFF":
        check_wav(data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not 0 < file.samplerate <= HIGHEST_RATE:
                raise Refused("bad_header", f"a sampling rate of {file.samplerate} Hz")
            asked = min(file.frames, int(max_seconds * file.samplerate) + 1)
            samples = np.asarray(file.read(asked, dtype="float32", always_2d=True), np.float32)
            if len(samples) < asked:
                raise Refused("truncated", f"{file.frames} samples promised, {len(samples)} are there")
    except soundfile.LibsndfileError as error:
        raise explained(error, data) from error
    if not len(samples):
        raise Refused("no_content", "a header and no sample")
    return samples, file.samplerate


def channels(samples: NDArray[np.float32], wanted: int) -> NDArray[np.float32]:
    """The wanted number of channels."""
    if samples.shape[1] == wanted:
        return samples
    return np.repeat(samples.mean(axis=1, keepdims=True), wanted, axis=1)


def check_wav(data: bytes) -> None:
    """Refuse what libsndfile lets pass: impossible formats, and data that end before their size says."""
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"fmt " and at + 24 <= len(data):
            check_format(struct.unpack_from("<HHIIHH", data, at + 8))
        if name == b"data":
            there = len(data) - at - 8
            if size > there and size not in UNKNOWN_SIZES and size < 0xFFFFF000:
                raise Refused("truncated", f"its header promises {size} bytes of sound, {there} are there")
            return
        at += 8 + size + size % 2
    raise Refused("truncated", "a RIFF header and no data chunk")


def check_format(numbers: tuple[Any, ...]) -> None:
    """Refuse a format chunk of impossible numbers."""
    tag, count, rate, _, _, bits = numbers
    if not count or not 0 < rate <= HIGHEST_RATE:
        raise Refused("bad_header", f"{count} channels at {rate} Hz")
    if tag not in WAV_FORMATS:
        raise Refused("unsupported", f"WAV of format 0x{tag:04X}")
    if not bits and tag in (1, 3):  # Compressed formats may leave it at 0.
        raise Refused("bad_header", "0 bits per sample")


def explained(error: soundfile.LibsndfileError, data: bytes) -> Refused:
    """libsndfile's exception as a reason."""
    text = error.error_string
    if not data.startswith(MAGIC + MPEG_MAGIC):
        return Refused("not_media", f"no sound: begins with {data[:16]!r}")
    if "unimplemented" in text.lower() or "unknown format" in text.lower() or "unsupported" in text.lower():
        return Refused("unsupported", text)
    return Refused("truncated" if data[:4] in (b"fLaC", b"OggS") else "corrupt", text)
