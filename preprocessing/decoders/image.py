"""A picture file to uint8 [size, size, 3]: upright, RGB, without hidden colour.

16-bit grey is scaled, not clipped; transparency is laid over white; of an animation the first frame counts.
"""

import io
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from preprocessing.refusal import Refused
from preprocessing.settings import Fit, ImageSettings
from preprocessing.source import Source

MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6")
PNG_HEADER = 33
CUT_SHORT = ("truncated", "unexpected end", "not enough", "premature", "0 bytes")


def decode(source: Source, settings: ImageSettings) -> NDArray[np.uint8]:
    """The picture as it is stored.

    Raises:
        Refused: it cannot be.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        picture = opened(source.data, settings)
        try:
            picture = upright(picture)
            square = fitted(rgb(picture), settings.size, settings.fit)
        except (OSError, SyntaxError, ValueError) as error:
            raise explained(error, source.data) from error
    return np.asarray(square)


def opened(data: bytes, settings: ImageSettings) -> Image.Image:
    """The picture with its header read and nothing decoded."""
    try:
        picture = Image.open(io.BytesIO(data))
    except UnidentifiedImageError as error:
        if data.startswith(b"\x89PNG") and len(data) >= PNG_HEADER:
            raise Refused("bad_header", "a PNG whose header does not fit its checksum") from error
        if data.startswith(MAGIC):
            raise Refused("truncated", "begins like a picture and ends inside its header") from error
        raise Refused("not_media", f"no picture: begins with {data[:16]!r}") from error
    except Image.DecompressionBombError as error:
        raise Refused("too_large", str(error)) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise explained(error, data) from error
    pixels = picture.width * picture.height
    if pixels > settings.max_pixels:
        size = f"{picture.width} x {picture.height}"
        raise Refused("too_large", f"{size} pixels; data.image.max_pixels is {settings.max_pixels}")
    if picture.format == "JPEG" and picture.mode == "RGB":
        # Lets libjpeg skip detail that resizing would throw away: 3 times the speed on photos.
        picture.draft("RGB", (2 * settings.size, 2 * settings.size))
    return picture


def upright(picture: Image.Image) -> Image.Image:
    """The picture turned as its EXIF block says, where that can be read."""
    picture.load()
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # Any garbage may stand in the block; the pixels are there.
        return picture


def rgb(picture: Image.Image) -> Image.Image:
    """Three channels of 8 bits with the colours that a viewer shows."""
    if picture.mode.startswith("I;16") or picture.mode == "I":
        return grey(np.asarray(picture).astype(np.float64) / 257)
    if picture.mode == "F":
        values = np.asarray(picture).astype(np.float64)
        if not np.isfinite(values).all():
            raise Refused("non_finite", f"{int((~np.isfinite(values)).sum())} pixels are NaN or infinite")
        return grey(values * 255 if values.max() <= 1 else values)
    if picture.has_transparency_data:
        over = picture.convert("RGBA")
        under = Image.new("RGBA", over.size, "white")
        return Image.alpha_composite(under, over).convert("RGB")
    return picture.convert("RGB")


def grey(values: NDArray[Any]) -> Image.Image:
    """A grey picture from values of 0 to 255."""
    return Image.fromarray(np.rint(values).clip(0, 255).astype(np.uint8)).convert("RGB")


def fitted(picture: Image.Image, size: int, fit: Fit) -> Image.Image:
    """A square picture."""
    if picture.size == (size, size):
        return picture
    if fit == "pad":
        return ImageOps.pad(picture, (size, size), Image.Resampling.BICUBIC)
    side = min(picture.size)
    left, top = (picture.width - side) / 2, (picture.height - side) / 2
    whole = (0.0, 0.0, float(picture.width), float(picture.height))
    box = (left, top, left + side, top + side) if fit == "crop" else whole
    return picture.resize((size, size), Image.Resampling.BICUBIC, box)


def explained(error: Exception, data: bytes) -> Refused:
    """Pillow's exception as a reason."""
    text = str(error)
    # Of a WebP cut short Pillow says no more than that it has no decoder object.
    if data[:4] == b"RIFF" and int.from_bytes(data[4:8], "little") > len(data) - 8:
        return Refused("truncated", f"its header promises more than the {len(data)} bytes that are there")
    if "MAX_TEXT" in text or "too large" in text.lower():
        return Refused("too_large", text)
    cut = any(word in text.lower() for word in CUT_SHORT)
    return Refused("truncated" if cut else "corrupt", text)
