"""Sounds that must be refused, and for what; and unusual ones that must not. All are made here."""

# A table is read a row a line, and a function that writes any header takes all of its fields.
# ruff: noqa: E501, PLR0913

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import soundfile
from malformed_images import PAGE, Row, flipped
from malformed_images import saved as picture
from numpy.typing import NDArray

NOISE = np.random.default_rng(0).integers(-9999, 9999, 8000).astype(np.int16)


def saved(
    kind: str, coding: str | None = None, samples: NDArray[Any] = NOISE, rate: int = 8000, **more: Any
) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=coding, **more)
    return file.getvalue()


def cut(kind: str, share: float, coding: str | None = None) -> Callable[[], bytes]:
    return lambda: (data := saved(kind, coding))[: int(len(data) * share) if share < 1 else -1]


def wav(
    *,
    tag: int = 1,
    channels: int = 1,
    rate: int = 8000,
    bits: int = 16,
    block: int = 2,
    size: int = 200,
    body: bytes = bytes(200),
    name: bytes = b"RIFF",
) -> bytes:
    """A WAV of whatever header."""
    order = ">" if name == b"RIFX" else "<"
    form = struct.pack(order + "HHIIHH", tag, channels, rate, rate * block % 2**32, block, bits)
    head = name + struct.pack(order + "I", 36 + len(body)) + b"WAVEfmt " + struct.pack(order + "I", 16) + form
    return head + b"data" + struct.pack(order + "I", size) + body


def rf64(size: int, body: bytes = bytes(200)) -> bytes:
    lengths = struct.pack("<QQQI", 72 + len(body), size, size // 2, 0)
    form = struct.pack("<HHIIHH", 1, 1, 8000, 16000, 2, 16)
    head = b"RF64\xff\xff\xff\xffWAVEds64" + struct.pack("<I", 28) + lengths
    return head + b"fmt " + struct.pack("<I", 16) + form + b"data\xff\xff\xff\xff" + body


def aiff(*, channels: int = 1, frames: int = 100, bits: int = 16, rate: bytes = b"\x40\x0b\xfa\0\0\0\0\0\0\0",
         body: bytes = bytes(200)) -> bytes:  # fmt: skip
    common = b"COMM" + struct.pack(">IHIH", 18, channels, frames, bits) + rate
    sound = b"SSND" + struct.pack(">III", 8 + 2 * frames, 0, 0) + body
    return b"FORM" + struct.pack(">I", 4 + len(common) + len(sound)) + b"AIFF" + common + sound


def au(
    *, size: int = 200, coding: int = 3, rate: int = 8000, channels: int = 1, body: bytes = bytes(200)
) -> bytes:
    return b".snd" + struct.pack(">IIIII", 24, size, coding, rate, channels) + body


def flac(*, rate: int = 8000, frames: int | None = 8000, **more: Any) -> bytes:
    """A FLAC whose header is rewritten."""
    data = saved("FLAC", **more)
    numbers = int.from_bytes(data[18:26], "big")
    numbers = (numbers & ((1 << 44) - 1)) | (rate << 44)
    numbers = numbers >> 36 << 36 | (frames or 0)
    return data[:18] + numbers.to_bytes(8, "big") + data[26:]


def with_value(value: float, coding: str = "FLOAT") -> bytes:
    samples = np.linspace(-0.5, 0.5, 100)
    samples[7] = value
    return saved("WAV", coding, samples)


def middle(kind: str, coding: str | None = None) -> Callable[[], bytes]:
    return lambda: flipped(data := saved(kind, coding), len(data) // 3)


def adpcm(block: int, per_block: int) -> bytes:
    form = struct.pack("<HHIIHHHH", 0x11, 1, 8000, 4000, block, 4, 2, per_block)
    return (
        b"RIFF"
        + struct.pack("<I", 240)
        + b"WAVEfmt "
        + struct.pack("<I", 20)
        + form
        + b"data"
        + struct.pack("<I", 200)
        + bytes(200)
    )


GOOD = (
    *(("WAV", coding) for coding in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW",
                                     "IMA_ADPCM", "MS_ADPCM", "GSM610")),
    ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("FLAC", "PCM_24"),
    ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "PCM_16"),
    ("AU", "ULAW"),
)  # fmt: skip
CUT = (("WAV", "PCM_16"), ("WAV", "IMA_ADPCM"), ("WAVEX", "PCM_24"), ("RF64", "PCM_16"), ("W64", "PCM_16"),
       ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", None), ("AU", None))  # fmt: skip

ROWS: tuple[Row, ...] = (
    # Whole and unusual: to be stored.
    *((f"{coding}.{kind}".lower(), f"a good {kind} of {coding}", lambda kind=kind, coding=coding: saved(kind, coding), "")
      for kind, coding in GOOD),
    ("rifx.wav", "big-endian WAV", lambda: wav(name=b"RIFX"), ""),
    ("fast.wav", "192 kHz", lambda: saved("WAV", rate=192_000), ""),
    ("slow.wav", "11 Hz", lambda: saved("WAV", rate=11), ""),
    ("many.wav", "32 channels", lambda: saved("WAV", samples=np.zeros((50, 32), np.int16)), ""),
    ("pipe.wav", "lengths of a pipe", lambda: wav(size=0xFFFFFFFF), ""),
    ("pipe.rf64.wav", "RF64 of its right length", lambda: rf64(200), ""),
    ("pipe.au", "AU of unknown length", lambda: au(size=0xFFFFFFFF), ""),
    ("pipe.flac", "FLAC of unknown length", lambda: flac(frames=None), ""),
    ("after.wav", "junk behind the sound", lambda: saved("WAV") + bytes(999), ""),
    ("half_list.wav", "a whole sound and half a list behind", lambda: saved("WAV") + b"LIST\xff\0\0\0INFO", ""),
    ("id3.flac", "a tag before the sound", lambda: b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + saved("FLAC"), ""),
    ("hot.wav", "float 1e30", lambda: with_value(1e30), ""),
    ("negative.wav", "float -1e38, resampled", lambda: saved("WAV", "FLOAT", np.full(500, -1e38), 44_100), ""),
    ("really_ogg.wav", "Ogg named .wav", lambda: saved("OGG"), ""),
    # Ends too early.
    *((f"half.{coding}.{kind}".lower(), "cut in half", cut(kind, 0.5, coding), "truncated") for kind, coding in CUT),
    *((f"most.{coding}.{kind}".lower(), "without its last tenth", cut(kind, 0.9, coding), "truncated")
      for kind, coding in CUT),
    *((f"last.{coding}.{kind}".lower(), "without its last byte", cut(kind, 1, coding), "truncated")
      for kind, coding in CUT),
    *((f"head.{kind}".lower(), "16 bytes", lambda kind=kind: saved(kind)[:16], "truncated")
      for kind in ("WAV", "RF64", "W64", "FLAC", "OGG", "AIFF", "AU", "MP3")),
    ("no_data.wav", "a header and no data chunk", lambda: wav()[:36], "truncated"),
    ("lies.rf64.wav", "RF64 that promises 2^60 bytes", lambda: rf64(2**60), "truncated"),
    ("lies.wav", "2 GiB promised", lambda: wav(size=2**31 - 2), "truncated"),
    ("lies.au", "2 GiB promised", lambda: au(size=2**31 - 2), "truncated"),
    ("lies.aiff", "2^31 samples promised", lambda: aiff(frames=2**31 - 2**8), "truncated"),
    ("lies.flac", "2^36 samples promised", lambda: flac(frames=2**36 - 1), "truncated"),
    # Damaged.
    ("middle.flac", "a byte flipped", middle("FLAC"), "corrupt"),
    ("middle.ogg", "a byte flipped", middle("OGG", "VORBIS"), "corrupt"),
    ("middle.opus", "a byte flipped", middle("OGG", "OPUS"), "corrupt"),
    ("header.flac", "a header alone that promises sound", lambda: saved("FLAC")[:42], "truncated"),
    ("frames.flac", "a header, then zeros", lambda: saved("FLAC")[:42] + bytes(9999), "truncated"),
    ("noise.mp3", "a tag, then zeros", lambda: b"ID3\4\0\0\0\0\0\x0a" + bytes(9999), "corrupt"),
    # Other content.
    *((f"page.{end}", "a web page", lambda: PAGE, "not_media")
      for end in ("wav", "flac", "ogg", "opus", "mp3", "aiff", "au", "m4a", "aac", "w64")),
    ("zip.wav", "a zip archive", lambda: b"PK\3\4" + bytes(99), "not_media"),
    ("picture.wav", "a PNG", lambda: picture("PNG"), "not_media"),
    ("webp.wav", "a WebP is a RIFF too", lambda: picture("WEBP"), "not_media"),
    ("photo.mp3", "a JPEG", lambda: picture("JPEG"), "not_media"),
    ("photo.m4a", "a JPEG", lambda: picture("JPEG"), "not_media"),
    ("zeros.wav", "zeros", lambda: bytes(9999), "not_media"),
    ("zeros.mp3", "zeros", lambda: bytes(9999), "not_media"),
    ("prose.wav", "prose", lambda: b"RIFFs are what a guitar plays. " * 20, "not_media"),
    ("playlist.m4a", "a playlist", lambda: b"#EXTM3U\n#EXTINF:9,\n/etc/passwd\n", "external_ref"),
    ("playlist.mp3", "a playlist", lambda: b"#EXTM3U\n#EXTINF:9,\nhttp://127.0.0.1/a.mp3\n", "external_ref"),
    # No decoder here.
    ("tag.wav", "format 0x1234", lambda: wav(tag=0x1234), "unsupported"),
    ("wma.wav", "Windows Media in a WAV", lambda: wav(tag=0x161), "unsupported"),
    ("caf.wav", "Core Audio", lambda: saved("CAF"), "unsupported"),
    ("voc.wav", "Creative Voice", lambda: saved("VOC"), "unsupported"),
    ("coding.au", "AU of coding 99", lambda: au(coding=99), "unsupported"),
    ("midi.wav", "notes, no sound", lambda: b"MThd\0\0\0\6\0\1\0\1\0\x60" + bytes(99), "unsupported"),
    # Headers that cannot be.
    ("rate.wav", "0 Hz", lambda: wav(rate=0), "bad_header"),
    ("rate_high.wav", "4 GHz", lambda: wav(rate=2**32 - 1), "bad_header"),
    ("channels.wav", "no channels", lambda: wav(channels=0), "bad_header"),
    ("bits.wav", "0 bits", lambda: wav(bits=0), "bad_header"),
    ("odd_bits.wav", "57 bits", lambda: wav(bits=57), "unsupported"),
    ("float_bits.wav", "floats of 8 bits", lambda: wav(tag=3, bits=8), "bad_header"),
    ("fmt.wav", "no format chunk", lambda: wav().replace(b"fmt ", b"fnt "), "bad_header"),
    ("rate.rifx.wav", "0 Hz, big-endian", lambda: wav(name=b"RIFX", rate=0), "bad_header"),
    ("channels.aiff", "no channels", lambda: aiff(channels=0), "bad_header"),
    ("rate.aiff", "0 Hz", lambda: aiff(rate=bytes(10)), "bad_header"),
    ("rate_nan.aiff", "a rate that is no number", lambda: aiff(rate=b"\x7f\xff" + b"\xff" * 8), "bad_header"),
    ("bits.aiff", "0 bits", lambda: aiff(bits=0), "bad_header"),
    ("channels.au", "no channels", lambda: au(channels=0), "bad_header"),
    ("rate.au", "0 Hz", lambda: au(rate=0), "bad_header"),
    ("rate.flac", "0 Hz", lambda: flac(rate=0), "bad_header"),
    ("adpcm.wav", "ADPCM blocks that hold more than they can", lambda: adpcm(36, 60000), "bad_header"),
    ("adpcm_zero.wav", "ADPCM blocks of no bytes", lambda: adpcm(0, 65), "bad_header"),
    # Bombs.
    ("wide.wav", "30 s of 1,000 channels at 800 kHz promised and a pipe's length",
     lambda: wav(channels=1000, rate=800_000, bits=8, block=1000, size=0xFFFFFFFF, body=bytes(100_001_000)),
     "too_large"),
    ("wide.flac", "60 s of silence in 8 channels at 655,350 Hz",
     lambda: flac(rate=655_350, frames=40_000_000, samples=np.zeros((8000, 8), np.int16)), "too_large"),
    # No numbers.
    *((f"{value}.{coding}.wav".lower(), f"a sample is {value}",
       lambda value=value, coding=coding: with_value(value, coding), "non_finite")
      for value in (float("nan"), float("inf"), float("-inf")) for coding in ("FLOAT", "DOUBLE")),
    ("1e300.wav", "more than a float32 holds", lambda: with_value(1e300, "DOUBLE"), "non_finite"),
    ("nan.aiff", "AIFF with NaN", lambda: saved("AIFF", "FLOAT", np.array([0, np.nan])), "non_finite"),
    # Nothing in it.
    *((f"none.{kind}".lower(), "a header and no sample", lambda kind=kind: saved(kind, samples=NOISE[:0]), "no_content")
      for kind in ("WAV", "RF64", "W64", "OGG", "AIFF", "AU")),
    ("none.flac", "a header and no sample", lambda: flac(frames=None)[:42], "no_content"),
)  # fmt: skip
