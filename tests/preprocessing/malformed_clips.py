"""Clips that must be refused, and for what; and unusual ones that must not. All are made here."""

# A table is read a row a line, and a function that writes any header takes all of its fields.
# ruff: noqa: E501

import io
import struct
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import av
import numpy as np
from malformed_images import PAGE, Row, chunk, png
from malformed_images import saved as picture
from malformed_sounds import saved as sound

CODECS: Mapping[str, tuple[str, str]] = {
    "mp4": ("mpeg4", "aac"),
    "mov": ("mjpeg", "pcm_s16le"),
    "matroska": ("mpeg4", "pcm_s16le"),
    "webm": ("libvpx", "libopus"),
    "avi": ("mjpeg", "pcm_s16le"),
    "mpegts": ("mpeg2video", "mp2"),
    "mpeg": ("mpeg1video", "mp2"),
    "flv": ("flv", "libmp3lame"),
    "asf": ("wmv2", "wmav2"),
}


@cache
def saved(kind: str, *, frames: int = 12, sounding: bool = False, size: tuple[int, int] = (32, 16),
          front: bool = False) -> bytes:  # fmt: skip
    """A clip of noise, half a second long."""
    with tempfile.TemporaryFile() as file:
        write(file, kind, frames, sounding, size)
        file.seek(0)
        data = file.read()
    if front:
        data = index_first(data)
    return data


def index_first(data: bytes) -> bytes:
    """The index moved before the pictures, whose places in it grow by its length."""
    at, pictures = data.index(b"moov") - 4, data.index(b"mdat") - 4
    index = data[at:]
    places = index.index(b"stco") + 12
    count = int.from_bytes(index[places - 4 : places], "big")
    moved = struct.unpack_from(f">{count}I", index, places)
    new = struct.pack(f">{count}I", *(place + len(index) for place in moved))
    return data[:pictures] + index[:places] + new + index[places + 4 * count :] + data[pictures:at]


def write(file: Any, kind: str, frames: int, sounding: bool, size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    rate = 48_000
    with av.open(file, "w", kind) as out:
        pictures = out.add_stream(CODECS[kind][0], 24) if frames >= 0 else None
        if pictures:
            pictures.width, pictures.height = size
            pictures.pix_fmt = "yuvj420p" if CODECS[kind][0] == "mjpeg" else "yuv420p"
        sounds = out.add_stream(CODECS[kind][1], rate, layout="mono") if sounding else None
        if not frames:
            out.start_encoding()
        for _ in range(frames):
            pixels = random.integers(0, 256, (size[1], size[0], 3), np.uint8)
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels)))
        if pictures and frames:
            out.mux(pictures.encode())
        if sounds:
            noise = random.normal(0, 0.1, (1, 24_000)).astype(np.float32)
            resampler = av.AudioResampler(sounds.format, "mono", rate, sounds.frame_size or None)
            frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            frame.rate = rate
            for part in (*resampler.resample(frame), *resampler.resample(None)):
                out.mux(sounds.encode(part))
            out.mux(sounds.encode())


def cut(kind: str, share: float, **more: Any) -> Callable[[], bytes]:
    return lambda: (data := saved(kind, **more))[: int(len(data) * share) if share < 1 else -1]


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    at = data.index(old)
    return data[:at] + new + data[at + len(new) :]


def huge_frames(kind: str = "avi") -> bytes:
    """Small in the container's header, 60,000 x 60,000 in each frame's own."""
    data = saved(kind)
    parts = data.split(b"\xff\xc0\0\x11\x08")
    return parts[0] + b"".join(
        b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 60000, 60000) + part[4:] for part in parts[1:]
    )


def large_track() -> bytes:
    """Its description says 32,000 x 32,000."""
    data = saved("mov")
    at = data.index(b"jpeg", data.index(b"stsd"))
    return data[: at + 28] + struct.pack(">HH", 32000, 32000) + data[at + 32 :]


def outer_track() -> bytes:
    """Its pictures lie in another file."""
    data = saved("mp4")
    at = data.index(b"dref")
    return data[: at + 20] + bytes(4) + data[at + 24 :]


def animation() -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", "gif") as out:
        stream = out.add_stream("gif", 10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb8"
        for value in range(5):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((16, 16, 3), 50 * value, np.uint8))))
        out.mux(stream.encode())
    return file.getvalue()


ALL = tuple(CODECS)
SIZED = ("mp4", "mov", "matroska", "webm", "avi", "asf")  # They say how long they are.
ENDINGS = {"matroska": "mkv", "mpegts": "ts", "mpeg": "mpg", "asf": "wmv"}

ROWS: tuple[Row, ...] = (
    # Whole and unusual: to be stored.
    *((f"ok.{ENDINGS.get(kind, kind)}", f"a good {kind}", lambda kind=kind: saved(kind), "") for kind in ALL),
    *((f"both.{ENDINGS.get(kind, kind)}", f"{kind} with sound", lambda kind=kind: saved(kind, sounding=True), "")
      for kind in ALL if kind != "asf"),
    ("one.mp4", "one frame", lambda: saved("mp4", frames=1), ""),
    ("front.mp4", "its index first", lambda: saved("mp4", front=True), ""),
    ("track.mov", "its header lies, its frames are small", large_track, ""),
    ("thin.mp4", "1,024 x 16", lambda: saved("mp4", size=(1024, 16)), ""),
    ("gif.mp4", "an animated GIF", animation, ""),
    ("really_avi.mp4", "AVI named .mp4", lambda: saved("avi"), ""),
    # Ends too early.
    *((f"half.{ENDINGS.get(kind, kind)}", "cut in half", cut(kind, 0.5), "truncated") for kind in SIZED),
    *((f"last.{ENDINGS.get(kind, kind)}", "without its last byte", cut(kind, 1), "truncated") for kind in SIZED),
    ("front_half.mp4", "its index first, cut", cut("mp4", 0.7, front=True), "truncated"),
    ("front_last.mp4", "its index first, without its last byte", cut("mp4", 1, front=True), "truncated"),
    ("ftyp.mp4", "a first box alone", lambda: saved("mp4")[:32], "truncated"),
    ("head.mp4", "20 bytes", lambda: saved("mp4")[:20], "truncated"),
    ("head.mkv", "20 bytes", lambda: saved("matroska")[:20], "truncated"),
    ("head.avi", "20 bytes", lambda: saved("avi")[:20], "truncated"),
    ("box.mp4", "a box of 2^62 bytes",
     lambda: saved("mp4") + struct.pack(">I4sQ", 1, b"free", 2**62), "truncated"),
    # Damaged.
    ("moov.mp4", "an index of zeros", lambda: (data := saved("mp4"))[: data.index(b"moov") + 4] + bytes(
        len(data) - data.index(b"moov") - 4), "no_content"),
    ("zeros.mkv", "a header, then zeros", lambda: saved("matroska")[:60] + bytes(len(saved("matroska")) - 60),
     "no_content"),
    # Other content.
    *((f"page.{end}", "a web page", lambda: PAGE, "not_media")
      for end in ("mp4", "mkv", "webm", "avi", "mov", "mpg", "ts", "wmv", "flv")),
    ("zip.mp4", "a zip archive", lambda: b"PK\3\4" + bytes(999), "not_media"),
    *((f"{kind.lower()}.mp4", "a picture", lambda kind=kind: picture(kind), "not_media")
      for kind in ("PNG", "JPEG", "BMP", "TIFF", "PPM", "WEBP")),
    ("wave.mp4", "a WAV", lambda: sound("WAV"), "not_media"),
    ("mp3.mp4", "an MP3", lambda: sound("MP3"), "not_media"),
    ("flac.mp4", "a FLAC", lambda: sound("FLAC"), "not_media"),
    ("ass.mp4", "subtitles", lambda: b"[Script Info]\nTitle: x\n[Events]\n", "not_media"),
    ("srt.mp4", "subtitles", lambda: b"1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 9, "not_media"),
    ("zeros.mp4", "zeros", lambda: bytes(9999), "not_media"),
    ("ansi.mp4", "text for a terminal", lambda: b"\x1b[31mred\x1b[0m\n" * 99, "not_media"),
    ("apng.mp4", "an animated PNG",
     lambda: png(more=chunk(b"acTL", struct.pack(">II", 2, 0))), "not_media"),
    # What lies elsewhere.
    ("hls.mp4", "a playlist", lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n",
     "external_ref"),
    ("concat.mp4", "a concatenation", lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n", "external_ref"),
    ("sdp.mp4", "a session", lambda: b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video 9 RTP/AVP 96\r\n", "external_ref"),
    ("dash.mp4", "a manifest", lambda: b'<?xml version="1.0"?>\n<MPD><BaseURL>http://127.0.0.1/</BaseURL></MPD>',
     "external_ref"),
    ("asx.wmv", "a playlist", lambda: b'<asx version="3.0"><entry><ref href="mms://a"/></entry></asx>', "external_ref"),
    ("outer.mp4", "a track that lies elsewhere", outer_track, "external_ref"),
    # Bombs.
    ("frames.avi", "frames of 60,000 x 60,000, which the header does not say", huge_frames, "corrupt"),
    ("frames.mov", "frames of 60,000 x 60,000, which the header does not say", lambda: huge_frames("mov"), "corrupt"),
    ("wide.avi", "16,000 x 2 is 100 million pixels once its height fits", lambda: saved("avi", size=(16_000, 2)),
     "too_large"),
    # Nothing in it.
    ("sound.mp4", "sound alone", lambda: saved("mp4", frames=-1, sounding=True), "no_content"),
    ("sound.mkv", "sound alone", lambda: saved("matroska", frames=-1, sounding=True), "no_content"),
    *((f"none.{ENDINGS.get(kind, kind)}", "no frame", lambda kind=kind: saved(kind, frames=0), "no_content")
      for kind in ("mp4", "mov", "matroska", "avi")),
)  # fmt: skip
