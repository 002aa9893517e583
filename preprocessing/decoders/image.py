"""A picture file to uint8 [size, size, 3]: upright, RGB, without hidden colour.

16-bit grey is scaled, not clipped; transparency is laid over white; of an animation the first frame counts.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from preprocessing.decoders.image_files import check, check_png_rows, check_size, kind_of
from preprocessing.refusal import Reason, Refused
from preprocessing.settings import Fit, ImageSettings
from preprocessing.source import Source

# Words of Pillow's exceptions, and what they mean; the first that fits counts.
MEANINGS: tuple[tuple[Reason, tuple[str, ...]], ...] = (
    ("too_large", ("max_text", "too large", "decompression bomb")),
    ("unsupported", ("cannot handle", "keyerror", "unsupported", "unknown pixel mode")),
    ("bad_header", ("not identified", "maxval", "signed integer", "negative dimension", "invalid literal")),
    ("truncated", ("truncat", "end of file", "unexpected", "not enough", "premature", "0 bytes", "missing",
                   "a buffer", "index out of range", "reached eof", "not a jpeg", "unknown data org")),
)  # fmt: skip
# Rows that are turned from 16 bits or floats to 8 bits at a time.
BAND = 256


def decode(source: Source, settings: ImageSettings) -> NDArray[np.uint8]:
    """The picture as it is stored.

    Raises:
        Refused: it cannot be.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kind = kind_of(source.data)
        check(kind, source.data, settings.max_pixels)
        picture = opened(source.data, kind, settings)
        try:
            picture.load()
            if kind == "PNG" and not picture.crop((0, picture.height - 1, *picture.size)).getbbox():
                # Rows that are missing are black, and so is the last one here.
                check_png_rows(source.data)
            square = fitted(rgb(upright(picture)), settings.size, settings.fit)
        except (OSError, SyntaxError, ValueError, RuntimeError) as error:
            raise damaged(error, kind, source.data) from error
    return np.asarray(square)


def opened(data: bytes, kind: str, settings: ImageSettings) -> Image.Image:
    """The picture with its header read and nothing decoded."""
    try:
        picture = Image.open(io.BytesIO(data), formats=(kind,))
    except UnidentifiedImageError:
        raise damaged(fault(data, kind), kind, data) from None
    except (
        Image.DecompressionBombError,
        OSError,
        SyntaxError,
        ValueError,
        OverflowError,
        RuntimeError,
    ) as error:
        raise explained(error) from error
    check_size(picture.width, picture.height, settings.max_pixels)
    if picture.format == "JPEG" and picture.mode == "RGB":
        # Lets libjpeg skip detail that resizing would throw away: 3 times the speed on photos.
        picture.draft("RGB", (2 * settings.size, 2 * settings.size))
    return picture


def fault(data: bytes, kind: str) -> Exception:
    """What the reader of one format stumbles over; `Image.open` keeps it for itself."""
    reader: Callable[..., Image.Image] = Image.OPEN[kind][0]
    try:
        reader(io.BytesIO(data), "")
    except Exception as error:
        return error
    return OSError(f"no {kind} that can be read")


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF block says, where that can be read."""
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Any garbage may stand in the block; the pixels are there.
        return picture


def rgb(picture: Image.Image) -> Image.Image:
    """Three channels of 8 bits with the colours that a viewer shows."""
    if picture.mode.startswith("I;16"):
        return grey(np.asarray(picture), 257.0)
    if picture.mode == "I":
        values = np.asarray(picture)
        check_range(values, 65535)
        return grey(values, 257.0)
    if picture.mode == "F":
        values = np.asarray(picture)
        if bad := int((~np.isfinite(values)).sum()):
            raise Refused("non_finite", f"{bad} pixels are NaN or infinite")
        check_range(values, 255)
        return grey(values, 1 / 255 if values.max() <= 1 else 1.0)
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        under = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(under, over).convert("RGB")
    return picture.convert("RGB")


def check_range(values: NDArray[Any], most: int) -> None:
    """Refuse grey values of which nothing says what is black and what white."""
    low, high = values.min(), values.max()
    if low < 0 or high > most:
        raise Refused("unsupported", f"grey values from {low:g} to {high:g}, outside 0 to {most}")


def grey(values: NDArray[Any], step: float) -> Image.Image:
    """A grey picture from values of 0 to 255 steps, a band of rows at a time to save memory."""
    whole = np.empty(values.shape, np.uint8)
    for top in range(0, len(values), BAND):
        band = values[top : top + BAND].astype(np.float64)
        whole[top : top + BAND] = np.rint(band / step).clip(0, 255)
    return Image.fromarray(whole).convert("RGB")


def fitted(picture: Image.Image, size: int, fit: Fit) -> Image.Image:
    """A square picture."""
    if picture.size == (size, size):
        return picture
    if fit == "pad":
        return padded(picture, size)
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    whole = (0.0, 0.0, float(picture.width), float(picture.height))
    box = (left, top, left + side, top + side) if fit == "crop" else whole
    return picture.resize((size, size), Image.Resampling.BICUBIC, box)


def padded(picture: Image.Image, size: int) -> Image.Image:
    """The whole picture, at least a pixel thin, between black bars."""
    if max(picture.size) < 2 * size * min(picture.size):
        return ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC)
    thin = (1, size) if picture.width < picture.height else (size, 1)
    return ImageOps.pad(picture.resize(thin, Image.Resampling.BICUBIC), (size, size))


def damaged(error: Exception, kind: str, data: bytes) -> Refused:
    """What stopped a decoder; of a JPEG without its end mark that is that it ends too early."""
    refusal = explained(error)
    if refusal.reason in ("corrupt", "bad_header") and kind == "JPEG" and b"\xff\xd9" not in data:
        return Refused("truncated", f"{refusal.detail}; a JPEG without its end")
    return refusal


def explained(error: Exception) -> Refused:
    """Pillow's exception as a reason."""
    text = str(error) or type(error).__name__
    said = repr(error).lower()
    for reason, words in MEANINGS:
        if any(word in said for word in words):
            return Refused(reason, text)
    return Refused("corrupt", text)
