"""What kind of sound a file holds, and whether it is whole: read from its headers, before any sample is.

libsndfile takes a WAV, W64, AIFF or AU that ends early for a shorter sound, leaves out a page of an Ogg that
is damaged or missing, and tries two dozen formats on unknown content.
"""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

from preprocessing.decoders.container import check_playlist
from preprocessing.refusal import Refused

# Formats that are decoded here, by their first bytes.
KINDS: Mapping[str, re.Pattern[bytes]] = {
    "WAV": re.compile(rb"(RIFF|RIFX|RF64)(....WAVE|.{0,7}$)", re.DOTALL),
    "W64": re.compile(rb"riff\x2e\x91\xcf\x11"),
    "FLAC": re.compile(rb"fLaC"),
    "OGG": re.compile(rb"OggS"),
    "AIFF": re.compile(rb"FORM(....AIF[FC]|.{0,7}$)", re.DOTALL),
    "AU": re.compile(rb"\.snd"),
    # A tag, or the first frame of one of three layers.
    "MP3": re.compile(rb"ID3|\xff[\xe2-\xe7\xf2-\xff]"),
}
# Sounds, or notes, all the same, which only other programs read.
ELSEWHERE = re.compile(
    rb"caff|Creative Voice|MThd|FORM....8SVX|NIST|wvpk|MAC |TTA1|MPCK|MP\+|\.RMF|0&\xb2u|#!AMR|DSD |dns\.",
    re.DOTALL,
)
# Sizes that a program writes when it cannot come back to the header: the sound ends with the file.
UNKNOWN_SIZES = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000)
HIGHEST_RATE = 1_000_000
# PCM, ADPCM, float, A-law, mu-law, GSM, G.721, MPEG, extensible: what libsndfile reads of WAV.
WAV_FORMATS = (1, 2, 3, 6, 7, 0x11, 0x31, 0x40, 0x45, 0x50, 0x55, 0x64, 0xFFFE)
BIT_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def kind_of(data: bytes) -> str:
    """The format.

    Raises:
        Refused: it is none that is decoded here.
    """
    for kind, opening in KINDS.items():
        if opening.match(data):
            return kind
    check_playlist(data)
    if ELSEWHERE.match(data):
        raise Refused("unsupported", f"a sound of a format without a decoder: begins with {data[:16]!r}")
    raise Refused("not_media", f"no sound: begins with {data[:16]!r}")


def untagged(data: bytes) -> bytes:
    """A FLAC without the tag that was put before it; everything else as it is."""
    start = tag_bytes(data)
    return data[start:] if start and data[start : start + 4] == b"fLaC" else data


def tag_bytes(data: bytes) -> int:
    """Length of the ID3 tag before the sound."""
    if data[:3] != b"ID3" or len(data) < 10:
        return 0
    return 10 + sum((byte & 0x7F) << shift for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True))


def check(kind: str, data: bytes) -> None:
    """Refuse a file that is not whole, or whose header cannot be."""
    CHECKS[kind](data)


def check_numbers(channels: int, rate: float) -> None:
    """Refuse a sound of impossible numbers."""
    if not channels or not 0 < rate <= HIGHEST_RATE:
        raise Refused("bad_header", f"{channels} channels at {rate:.10g} Hz")


def check_length(promised: int, there: int) -> None:
    """Refuse a sound that ends before its header says."""
    if promised > there:
        raise Refused("truncated", f"its header promises {promised} bytes of sound, {there} are there")


def check_wav(data: bytes) -> None:
    """The format can be, and the data are as long as they say."""
    order = ">" if data[:4] == b"RIFX" else "<"
    at, long, formed = 12, None, False
    while at + 8 <= len(data):
        name, size = struct.unpack_from(order + "4sI", data, at)
        if name == b"ds64" and at + 24 <= len(data):
            long = struct.unpack_from("<8xQ", data, at + 8)[0]
        if name == b"fmt " and at + 24 <= len(data):
            check_format(data[at + 8 : at + 8 + min(size, 40)], order)
            formed = True
        if name == b"data":
            if not formed:
                raise Refused("bad_header", "no format before the sound")
            if size == 0xFFFFFFFF and long is not None:
                check_length(long, len(data) - at - 8)
            elif size not in UNKNOWN_SIZES and size < 0xFFFFF000:
                check_length(size, len(data) - at - 8)
            return
        at += 8 + size + size % 2
    raise Refused("truncated", "a RIFF header and no data chunk")


def check_format(content: bytes, order: str = "<") -> None:
    """Refuse a format chunk of impossible numbers."""
    tag, channels, rate, _, block, bits = struct.unpack_from(order + "HHIIHH", content)
    check_numbers(channels, rate)
    if tag not in WAV_FORMATS:
        raise Refused("unsupported", f"WAV of format 0x{tag:04X}")
    # Compressed formats may leave it at 0.
    if (tag == 1 and not 0 < bits <= 64) or (tag == 3 and bits not in (32, 64)):
        raise Refused("bad_header", f"{bits} bits per sample")
    if tag in (2, 0x11) and len(content) >= 20:
        samples = struct.unpack_from(order + "H", content, 18)[0]
        if not 0 < samples * channels <= 2 * block + channels:
            raise Refused("bad_header", f"blocks of {block} bytes that hold {samples} samples")


def check_w64(data: bytes) -> None:
    """The same, with chunks that have long names and long sizes."""
    at = 40
    while at + 24 <= len(data):
        name, size = struct.unpack_from("<4s12xQ", data, at)
        if name == b"fmt " and at + 40 <= len(data):
            check_format(data[at + 24 : at + 64])
        if name == b"data":
            return check_length(size - 24, len(data) - at - 24)
        at += max(24, size + -size % 8)
    raise Refused("truncated", "a W64 header and no data chunk")


def check_aiff(data: bytes) -> None:
    """Channels, rate and bits can be, and there are as many samples as promised."""
    at, least = 12, 0
    while at + 8 <= len(data):
        name, size = struct.unpack_from(">4sI", data, at)
        if name == b"COMM" and at + 26 <= len(data):
            channels, frames, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", data, at + 8)
            exponent &= 0x7FFF
            check_numbers(channels, math.ldexp(mantissa, exponent - 16446) if exponent < 0x7FFF else math.inf)
            if not bits:
                raise Refused("bad_header", "0 bits per sample")
            if data[8:12] == b"AIFF":  # AIFC may be compressed.
                least = 8 + frames * channels * ((bits + 7) // 8)
        if name == b"SSND":
            return check_length(max(size, least), len(data) - at - 8)
        at += 8 + size + size % 2
    if least == 8:
        raise Refused("no_content", "a header and no sample")
    raise Refused("truncated", "an AIFF header and no sound chunk")


def check_au(data: bytes) -> None:
    """Channels and rate can be, and the data are as long as they say."""
    if len(data) < 24:
        raise Refused("truncated", "an AU that ends inside its header")
    start, size, _, rate, channels = struct.unpack_from(">IIIII", data, 4)
    check_numbers(channels, rate)
    if size not in UNKNOWN_SIZES:
        check_length(size, len(data) - start)


def check_flac(data: bytes) -> None:
    """The first block can be."""
    if len(data) < 42:
        raise Refused("truncated", "a FLAC that ends inside its header")
    check_numbers(1, int.from_bytes(data[18:21], "big") >> 4)


def flac_ends_whole(data: bytes) -> bool:
    """Whether the last bytes of a FLAC are a whole frame; libFLAC tells no damage from an end too early."""
    at = len(data)
    for _ in range(9):
        at = max(data.rfind(b"\xff\xf8", 0, at), data.rfind(b"\xff\xf9", 0, at))
        if at < 0 or len(data) - at > 2**17:
            return False
        if not flac_checksum(data[at:]):
            return True
    return False


def flac_checksum(frame: bytes) -> int:
    """CRC-16 of polynomial 0x8005 from 0; of a frame with its own checksum it is 0."""
    value = 0
    for byte in frame:
        value ^= byte << 8
        for _ in range(8):
            value = (value << 1) ^ (0x18005 if value & 0x8000 else 0)
    return value


def check_ogg(data: bytes) -> None:
    """Every page is there, none is damaged, and the last one says that it is the last."""
    last, at = False, 0
    for at, flags, page in pages(data):
        last = last or bool(flags & 4)
        if ogg_checksum(page) != int.from_bytes(page[22:26], "little"):
            raise Refused("corrupt", f"the checksum of the Ogg page at byte {at} is wrong")
    if not last:
        raise Refused("truncated", f"no page from byte {at} on says that it is the last")


def pages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Place, flags and bytes of each page of an Ogg, up to what is no page."""
    at = 0
    while data[at : at + 4] == b"OggS":
        if at + 27 > len(data) or at + 27 + data[at + 26] > len(data):
            raise Refused("truncated", f"it ends inside the Ogg page at byte {at}")
        body = at + 27 + data[at + 26]
        end = body + sum(data[at + 27 : body])
        if end > len(data):
            raise Refused("truncated", f"it ends inside the Ogg page at byte {at}")
        yield at, data[at + 5], data[at:end]
        at = end


def ogg_checksum(page: bytes) -> int:
    """CRC-32 with the bits the other way round, from 0 and not inverted: zlib's, with its bits reversed."""
    turned = (page[:22] + bytes(4) + page[26:]).translate(BIT_REVERSED)
    value = zlib.crc32(turned, 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{value:032b}"[::-1], 2)


def check_mp3(data: bytes) -> None:
    """As long as its first frame says, where it says so."""
    start = tag_bytes(data)
    if start >= len(data) or len(data) < 64:
        raise Refused("truncated", "it ends inside its tag or its first frame")
    for mark in (b"Xing", b"Info"):
        at = data.find(mark, start, start + 64)
        if at > 0 and at + 16 <= len(data):
            flags, *numbers = struct.unpack_from(">III", data, at + 4)
            if flags & 2:
                check_length(numbers[flags & 1], len(data) - start)


CHECKS: Mapping[str, Callable[[bytes], None]] = {
    "WAV": check_wav,
    "W64": check_w64,
    "FLAC": check_flac,
    "OGG": check_ogg,
    "AIFF": check_aiff,
    "AU": check_au,
    "MP3": check_mp3,
}
