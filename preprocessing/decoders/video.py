"""A clip to uint8 [F, size, size, 3] at one rate: at each stored instant the frame that was on the screen."""

import math
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from preprocessing.decoders.container import check_decoder, check_whole, opened
from preprocessing.refusal import Refused
from preprocessing.settings import VideoSettings
from preprocessing.source import Source

# Clips; pictures, playlists and sound files are none.
FORMATS = "mov,matroska,avi,flv,mpeg,mpegvideo,mpegts,asf,ogg,gif,h264,hevc,m4v,mjpeg"


def decode(source: Source, settings: VideoSettings) -> NDArray[np.uint8]:
    """The clip as it is stored.

    Raises:
        Refused: it cannot be.
    """
    check_whole(source.data)
    with opened(source.data, FORMATS, settings.max_pixels) as clip:
        frames = [*stored_frames(clip, settings)]
    if not frames:
        raise Refused("no_content", "the clip holds no frame")
    return np.stack(frames)


def stored_frames(clip: InputContainer, settings: VideoSettings) -> Iterator[NDArray[np.uint8]]:
    """The picture at 0, 1/rate, 2/rate ... seconds, as long as the clip or `max_seconds` last."""
    reformatter = VideoReformatter()
    most = max(1, round(settings.max_seconds * settings.rate))
    given = 0
    for frame, end in shown(clip, settings.max_pixels):
        due = min(most, max(1, math.ceil(end * settings.rate - 1e-6)))
        if due > given:
            picture = square(frame, reformatter, settings)
            yield from (picture for _ in range(due - given))
            given = due
        if given == most:
            return


def shown(clip: InputContainer, max_pixels: int) -> Iterator[tuple[av.VideoFrame, float]]:
    """Each frame with the second, from the first frame on, at which the next one takes its place."""
    before: av.VideoFrame | None = None
    start = time = 0.0
    for frame in decoded(clip, max_pixels):
        time = time if frame.pts is None else frame.time
        if before is None:
            start = time
        else:
            yield before, time - start
        before = frame
    if before is not None:
        lasts = float(before.duration * before.time_base) if before.duration and before.time_base else 0.0
        yield before, time - start + lasts


def decoded(clip: InputContainer, max_pixels: int) -> Iterator[av.VideoFrame]:
    """The frames of the first picture track, refused before they are decoded where they are too large."""
    if not clip.streams.video:
        raise Refused("no_content", "the clip has no picture track")
    stream = clip.streams.video[0]
    check_decoder(stream)
    if stream.width * stream.height > max_pixels:
        size = f"{stream.width} x {stream.height}"
        raise Refused("too_large", f"frames of {size} pixels; data.video.max_pixels is {max_pixels}")
    # One task has one core; threads would only disturb the others.
    stream.thread_type = "NONE"
    yield from clip.decode(stream)


def square(frame: av.VideoFrame, reformatter: VideoReformatter, settings: VideoSettings) -> NDArray[Any]:
    """The frame as a square picture, turned upright."""
    size, side = settings.size, min(frame.width, frame.height)
    width, height = size, size
    if settings.fit == "crop":
        width, height = round(frame.width * size / side), round(frame.height * size / side)
    elif settings.fit == "pad":
        longest = max(frame.width, frame.height)
        width, height = (max(1, round(edge * size / longest)) for edge in (frame.width, frame.height))
    if width * height > settings.max_pixels:
        sizes = f"{frame.width} x {frame.height} become {width} x {height}"
        raise Refused("too_large", f"frames of {sizes}; data.video.max_pixels is {settings.max_pixels}")
    small = reformatter.reformat(frame, width, height, "rgb24", interpolation=Interpolation.AREA)
    turned = np.rot90(small.to_ndarray(), k=round(frame.rotation / 90) % 4)
    return centred(turned, size)


def centred(picture: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """The middle of a picture that is too large, black around one that is too small."""
    for axis in (0, 1):
        spare = picture.shape[axis] - size
        if spare > 0:
            picture = np.take(picture, range(spare // 2, spare // 2 + size), axis)
        elif spare < 0:
            widths = [(0, 0)] * 3
            widths[axis] = (-spare // 2, -spare - (-spare // 2))
            picture = np.pad(picture, widths)
    return np.ascontiguousarray(picture, np.uint8)
