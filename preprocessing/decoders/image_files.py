"""What kind of picture a file holds, and what Pillow would let pass: seen before any pixel is decoded.

Of a PNG Pillow skips the checksums of the pixels, takes missing rows for black ones and needs no end; of
a GIF it needs no end; a WebP's whole canvas is taken when the file is opened; unknown content is offered
to forty readers, of which one starts Ghostscript.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping

from preprocessing.refusal import Refused

# Formats that are decoded here, by their first bytes.
KINDS: Mapping[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8(\xff|$)"),
    "PNG": re.compile(rb"\x89PNG"),
    "WEBP": re.compile(rb"RIFF(....WEBP|.{0,7}$)", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    # Bytes 14 to 17 are the size of one of the headers that there have been.
    "BMP": re.compile(rb"BM(.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0|.{0,15}$)", re.DOTALL),
    "TIFF": re.compile(rb"II[*+]\0|MM\0[*+]|II\0[*]|MM[*]\0"),
    "PPM": re.compile(rb"P[1-6f]\s+(#[^\n]*\s+)*([-\d]|$)"),
    "AVIF": re.compile(rb"....ftypavi[fs]", re.DOTALL),
}
# Pictures all the same, which only other programs read.
ELSEWHERE = re.compile(
    rb"8BPS|%!PS|\0\0[\x01\x02]\0|\0\0\0\x0cjP  |\xff\x4f\xff\x51|\0\0\0\x0cJXL |\xff\x0a"
    rb"|\x0a[\0\x02\x03\x05]\x01|qoif"
    rb"|DDS |\x76\x2f\x31\x01|#\?RADIANCE|PF\s|P7\s|SIMPLE  =|\x01\xda|\x8aMNG|....ftyp(hei|hev|mif|msf|jxl)",
    re.DOTALL,
)
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Origin and step in x and y of the seven passes of an interlaced PNG.
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def kind_of(data: bytes) -> str:
    """The name by which Pillow knows the format.

    Raises:
        Refused: it is none that is decoded here.
    """
    for kind, opening in KINDS.items():
        if opening.match(data):
            return kind
    if ELSEWHERE.match(data):
        raise Refused("unsupported", f"a picture of a format without a decoder: begins with {data[:16]!r}")
    raise Refused("not_media", f"no picture: begins with {data[:16]!r}")


def check(kind: str, data: bytes, max_pixels: int) -> None:
    """Refuse a file that is not whole, or too large to be opened."""
    CHECKS.get(kind, lambda *_: None)(data, max_pixels)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Refuse a picture of too many pixels."""
    if width * height > max_pixels:
        raise Refused("too_large", f"{width} x {height} pixels; data.image.max_pixels is {max_pixels}")


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and content of each chunk of a PNG, each with its checksum seen."""
    at, view = 8, memoryview(data)
    while at + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            break
        if zlib.crc32(view[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            reason = "bad_header" if name == b"IHDR" else "corrupt"
            raise Refused(reason, f"the checksum of its {name!r} at byte {at} is wrong")
        yield name, view[at + 8 : end - 4]
        if name == b"IEND":
            return
        at = end
    raise Refused("truncated", "a PNG without its end (IEND)")


def check_png(data: bytes, max_pixels: int) -> None:
    """Every chunk is whole, and there are pixels."""
    names: set[bytes] = set()
    for name, content in chunks(data):
        if name == b"IHDR" and len(content) == 13:
            width, height, bits, kind = struct.unpack_from(">IIBB", content)
            if not width or not height or kind not in CHANNELS or bits not in (1, 2, 4, 8, 16):
                raise Refused("bad_header", f"{width} x {height} pixels of {bits} bits, colour type {kind}")
            check_size(width, height, max_pixels)
        names.add(name)
    if b"IHDR" not in names:
        raise Refused("bad_header", "a PNG without its header (IHDR)")
    if b"IDAT" not in names:
        raise Refused("no_content", "a PNG without pixels (IDAT)")


def check_png_rows(data: bytes) -> None:
    """Refuse a PNG whose pixels end before its last row; inflates all of them, in small pieces."""
    width, height, bits, kind, interlaced = struct.unpack_from(">IIBB2xB", data, 16)
    promised = 0
    for left, top, right, down in PASSES if interlaced else ((0, 0, 1, 1),):
        across, rows = max(0, -((left - width) // right)), max(0, -((top - height) // down))
        promised += rows * (1 + (across * bits * CHANNELS[kind] + 7) // 8) if across else 0
    inflating, there = zlib.decompressobj(), 0
    for content in (content for name, content in chunks(data) if name == b"IDAT"):
        waiting: bytes | memoryview = content
        while len(waiting) and there < promised:
            there += len(inflating.decompress(waiting, 2**20))
            waiting = inflating.unconsumed_tail
    while there < promised and (more := inflating.decompress(inflating.unconsumed_tail, 2**20)):
        there += len(more)
    if there < promised:
        raise Refused("truncated", f"{promised} bytes of rows promised, {there} are there")


def check_gif(data: bytes, _: int) -> None:
    """Every block of the animation is whole, and one of them is a picture."""
    if len(data) < 13:
        raise Refused("truncated", "a GIF that ends inside its header")
    at, pictures = 13 + palette(data[10]), 0
    while at < len(data) and data[at] in b"\x21\x2c":
        if data[at] == 0x2C:
            pictures += 1
            at += 10 + (palette(data[at + 9]) if at + 9 < len(data) else 0) + 1
        else:
            at += 2
        while at < len(data) and data[at]:
            at += data[at] + 1
        at += 1
    if at >= len(data):
        raise Refused("truncated", "a GIF that ends inside one of its blocks, or without its end")
    if not pictures:
        raise Refused("no_content", "a GIF without a picture")


def palette(flags: int) -> int:
    """Bytes of the palette that a GIF's flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def check_webp(data: bytes, max_pixels: int) -> None:
    """As long as its header says, on a canvas that may be taken."""
    if len(data) < 30 or int.from_bytes(data[4:8], "little") > len(data) - 8:
        raise Refused("truncated", f"its header promises more than the {len(data)} bytes that are there")
    if data[12:16] == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        check_size(width, height, max_pixels)


def check_bmp(data: bytes, _: int) -> None:
    """A size that can be; and packed rows, which Pillow fills up with black, up to their end."""
    if len(data) < 26:
        raise Refused("truncated", "a BMP that ends inside its header")
    size, header = struct.unpack_from("<I8xI", data, 2)
    if header >= 40 and len(data) >= 34:
        width, height, packed = struct.unpack_from("<ii4xI", data, 18)
        if width <= 0 or not height:
            raise Refused("bad_header", f"{width} x {height} pixels")
        if packed in (1, 2) and (size > len(data) or not ended(data, packed)):
            raise Refused("truncated", f"packed rows that do not end within the {len(data)} bytes")


def ended(data: bytes, packed: int) -> bool:
    """Whether the packed rows of a BMP run up to their mark of the end."""
    at = int.from_bytes(data[10:14], "little")
    while at + 2 <= len(data):
        count, value = data[at], data[at + 1]
        if not count and value == 1:
            return True
        # 0, 2: a jump, with two bytes more; 0, n: n pixels as they are (8 or 4 bits each), in whole words.
        plain = value if packed == 1 else (value + 1) // 2
        at += 2 if count or not value else 4 if value == 2 else 2 + plain + plain % 2
    return False


def check_avif(data: bytes, _: int) -> None:
    """Every box is whole."""
    at = 0
    while len(data) - at >= 8:
        size = int.from_bytes(data[at : at + 4], "big")
        at += size if size >= 8 else len(data) - at
    if at != len(data):
        raise Refused("truncated", "an AVIF that ends inside one of its boxes")


CHECKS: Mapping[str, Callable[[bytes, int], None]] = {
    "PNG": check_png,
    "GIF": check_gif,
    "WEBP": check_webp,
    "BMP": check_bmp,
    "AVIF": check_avif,
}
