"""Opens a clip, for its pictures or its sound, and says what is wrong with one that does not open."""

import io
from collections.abc import Generator
from contextlib import contextmanager

import av
from av.container import InputContainer
from av.error import FFmpegError

from preprocessing.refusal import Refused

# Matroska, AVI, Ogg, Flash, MPEG programme and elementary streams, ASF, MPEG transport streams, MP3, AAC.
MAGIC = (
    b"\x1aE\xdf\xa3",
    b"RIFF",
    b"OggS",
    b"FLV",
    b"\0\0\1\xba",
    b"\0\0\1\xb3",
    b"0&\xb2u",
    b"G@",
    b"ID3",
    b"\xff\xf1",
)


@contextmanager
def opened(data: bytes) -> Generator[InputContainer]:
    """The clip, closed afterwards.

    Raises:
        Refused: it cannot be read, here or by what is done with it.
    """
    try:
        # Playlists and concatenation scripts would open other files: they are no clips.
        with av.open(io.BytesIO(data), "r", options={"protocol_whitelist": ""}) as clip:
            if clip.format.name in ("hls", "concat", "dash", "tty", "sdp", "image2", "ass", "srt"):
                raise Refused("not_media", f"no clip: {clip.format.long_name}")
            yield clip
    except FFmpegError as error:
        raise explained(error, data) from error


def explained(error: FFmpegError, data: bytes) -> Refused:
    """FFmpeg's exception as a reason."""
    text = str(error.strerror)
    if boxed(data):
        if b"moov" not in data or ends_inside_box(data):
            return Refused("truncated", f"{text}; it ends before its index (moov) or inside one of its boxes")
        return Refused("corrupt", text)
    return Refused("corrupt", text) if data.startswith(MAGIC) else Refused("not_media", f"no clip: {text}")


def boxed(data: bytes) -> bool:
    """Whether the content is of the MP4 family."""
    return data[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide")


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
