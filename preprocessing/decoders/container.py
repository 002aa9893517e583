"""Opens a clip, for its pictures or its sound, and says what is wrong with one that does not open."""

import io
import re
import struct
from collections.abc import Generator
from contextlib import contextmanager

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError
from av.error import EOFError as EndOfFile
from av.stream import Stream

from preprocessing.refusal import Refused

# Matroska, AVI, WAV, Ogg, Flash, MPEG programme and elementary streams, ASF, MPEG transport streams, MP3,
# AAC, GIF.
MAGIC = re.compile(
    rb"\x1aE\xdf\xa3|RIFF(....AVI |....WAVE|.{0,7}$)|OggS|FLV\x01|\0\0\1[\xba\xb3]|0&\xb2u|G@|ID3"
    rb"|\xff[\xf1\xf9]|GIF8[79]a",
    re.DOTALL,
)
# Texts that name other files or addresses: HLS, concatenation, SDP, DASH, SMIL, ASX, PLS.
PLAYLIST = re.compile(
    rb"\s*(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat|\[(playlist|Reference)\]|v=0\r?\n[a-z]="
    rb"|(<\?xml[^>]*>\s*)?<(MPD|smil|asx)\b)",
    re.IGNORECASE,
)
BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof")


@contextmanager
def opened(data: bytes, formats: str, max_pixels: int = 64_000_000) -> Generator[InputContainer]:
    """The clip, of one of FFmpeg's `formats`, closed afterwards.

    Raises:
        Refused: it cannot be read, here or by what is done with it.
    """
    options = {
        "format_whitelist": formats,
        # Playlists and tracks that lie elsewhere would open other files.
        "protocol_whitelist": "",
        # Also what FFmpeg decodes to find out what the clip is.
        "max_pixels": str(max_pixels),
    }
    try:
        clip = av.open(io.BytesIO(data), "r", options=options, metadata_errors="replace")
    except ArgumentError as error:
        raise Refused("not_media", f"no clip: a file of another kind begins with {data[:16]!r}") from error
    except FFmpegError as error:
        raise explained(error, data) from error
    with clip:
        try:
            yield clip
        except FFmpegError as error:
            raise explained(error, data) from error


def explained(error: FFmpegError, data: bytes) -> Refused:
    """FFmpeg's exception as a reason."""
    text = str(error.strerror)
    if isinstance(error, EndOfFile):
        return Refused("no_content", "a header and nothing behind it")
    if boxed(data):
        if b"moov" not in data:
            return Refused("truncated", f"{text}; it ends before its index (moov)")
        return Refused("corrupt", text)
    return Refused("corrupt", text) if MAGIC.match(data) else Refused("not_media", f"no clip: {text}")


def check_decoder(stream: Stream) -> None:
    """Refuse a track of which FFmpeg does not know what it is."""
    # The stubs of PyAV do not know that it may be missing.
    if getattr(stream, "codec_context", None) is None:
        raise Refused("unsupported", f"a {stream.type} track without a decoder")


def check_playlist(data: bytes) -> None:
    """Refuse a list of other files."""
    if PLAYLIST.match(data[:1000]):
        raise Refused("external_ref", f"a list of what lies elsewhere: begins with {data[:24]!r}")


def check_whole(data: bytes) -> None:
    """Refuse a clip that ends before its own sizes say, or whose pictures or sound lie elsewhere."""
    check_playlist(data)
    if boxed(data):
        if ends_inside_box(data):
            raise Refused("truncated", "the file ends inside one of its boxes")
        check_references(data)
    if data.startswith(b"G") and data[188:189] == b"G" and len(data) % 188:
        raise Refused("truncated", f"a transport stream that ends inside a packet, after {len(data)} bytes")
    if data[:4] == b"FLV\1" and not flash_ends_whole(data):
        raise Refused("truncated", "it ends inside a tag")
    promised = promised_bytes(data)
    if promised > len(data):
        raise Refused("truncated", f"its header promises {promised} bytes, {len(data)} are there")


def flash_ends_whole(data: bytes) -> bool:
    """Whether an FLV ends with the length of its last tag."""
    at = int.from_bytes(data[5:9], "big") + 4
    while at + 15 <= len(data):
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    return at == len(data)


def promised_bytes(data: bytes) -> int:
    """Length of an AVI, WAV, Matroska or ASF file as its header says; 0 where it says nothing."""
    if data[:4] == b"RIFF" and len(data) >= 12:
        size = int.from_bytes(data[4:8], "little")
        return 8 + size if size < 0xFFFFF000 else 0
    if data[:4] == b"\x1aE\xdf\xa3":
        return matroska_bytes(data)
    if data[:4] == b"0&\xb2u":
        at = data.find(b"\xa1\xdc\xab\x8c\x47\xa9\xcf\x11\x8e\xe4\0\xc0\x0c\x20\x53\x65", 0, 4096)
        return int.from_bytes(data[at + 40 : at + 48], "little") if at > 0 else 0
    return 0


def matroska_bytes(data: bytes) -> int:
    """Where the segment of a Matroska file ends; 0 where it was written without knowing."""
    at = 4
    size, at = matroska_size(data, at)
    at += size
    if data[at : at + 4] != b"\x18S\x80g":
        return at
    size, at = matroska_size(data, at + 4)
    return at + size if size >= 0 else 0


def matroska_size(data: bytes, at: int) -> tuple[int, int]:
    """A size of one to eight bytes, or -1 where it is unknown, and what comes behind it."""
    if at >= len(data) or not data[at]:
        return -1, at + 1
    count = 9 - data[at].bit_length()
    value = int.from_bytes(data[at : at + count], "big") & ((1 << 7 * count) - 1)
    return (-1 if value == (1 << 7 * count) - 1 else value), at + count


def boxed(data: bytes) -> bool:
    """Whether the content is of the MP4 family."""
    return data[4:8] in BOXES


def ends_inside_box(data: bytes) -> bool:
    """Whether the last box of an MP4 is longer than what is there."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1 and at + 16 <= len(data):
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:
            return False
        if size < 8:
            return True
        at += size
    return at != len(data)


def check_references(data: bytes) -> None:
    """Refuse an MP4 of which a track lies in another file."""
    at = data.find(b"dref")
    while 0 < at <= len(data) - 24:
        count, size, kind, flags = struct.unpack_from(">II4sI", data, at + 8)
        if count and kind in (b"url ", b"alis", b"urn ", b"rsrc") and 12 <= size < 9999 and not flags & 1:
            raise Refused("external_ref", f"a track lies elsewhere: {data[at + 24 : at + 12 + size][:80]!r}")
        at = data.find(b"dref", at + 4)
