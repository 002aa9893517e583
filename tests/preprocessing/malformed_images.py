"""Pictures that must be refused, and for what; and unusual ones that must not. All are made here."""

# A table is read a row a line, and a function that writes any header takes all of its fields.
# ruff: noqa: E501, PLR0913

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)
PAGE = b"<!DOCTYPE html><html><title>404</title><body>Not here</body></html>"

Row = tuple[str, str, Callable[[], bytes], str]


def saved(kind: str, pixels: NDArray[Any] = NOISE, mode: str = "RGB", **more: Any) -> bytes:
    file = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture.convert(mode) if picture.mode != mode else picture).save(file, kind, **more)
    return file.getvalue()


def half(kind: str, **more: Any) -> Callable[[], bytes]:
    return lambda: (data := saved(kind, **more))[: len(data) // 2]


def cut(kind: str, *, end: int = -1, **more: Any) -> Callable[[], bytes]:
    return lambda: saved(kind, **more)[:end]


def chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)


def png(
    width: int = 8,
    height: int = 8,
    *,
    bits: int = 8,
    kind: int = 2,
    interlaced: int = 0,
    more: bytes = b"",
    pixels: bytes | None = None,
    end: bytes = chunk(b"IEND", b""),
) -> bytes:
    """A PNG of whatever header."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, interlaced))
    rows = zlib.compress(bytes(25) * 8) if pixels is None else pixels
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", rows) + end


def flipped(data: bytes, at: int, mask: int = 0xFF) -> bytes:
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


def png_with_one_bit_wrong() -> bytes:
    """Stored, not compressed: only the checksum knows."""
    data = saved("PNG", compress_level=0)
    return flipped(data, len(data) // 2, 1)


def gif(screen: tuple[int, int], frame: tuple[int, int], end: bytes = b"\x3b") -> bytes:
    head = b"GIF89a" + struct.pack("<HH", *screen) + b"\x80\0\0" + b"\0\0\0\xff\xff\xff"
    return head + b"\x2c" + struct.pack("<HHHH", 0, 0, *frame) + b"\0" + b"\2\2\x4c\1\0" + end


def bmp(width: int, height: int, *, bits: int = 24, packed: int = 0, pixels: bytes = bytes(192)) -> bytes:
    palette = bytes(1024) if bits == 8 else b""
    at = 54 + len(palette)
    head = b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, packed, len(pixels), 0, 0, 0, 0)
    return head + info + palette + pixels


def tiff(tags: dict[int, tuple[int, int, int]], pixels: bytes = bytes(64)) -> bytes:
    """Little-endian; tags are {number: (type, count, value)}, the pixels lie at 8."""
    rows = b"".join(struct.pack("<HHII", tag, *tags[tag]) for tag in sorted(tags))
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(pixels))
        + pixels
        + struct.pack("<H", len(tags))
        + rows
        + bytes(4)
    )


def grey_tiff(**tags: tuple[int, int, int]) -> bytes:
    usual = {256: (4, 1, 8), 257: (4, 1, 8), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (4, 1, 8),
             277: (3, 1, 1), 278: (4, 1, 8), 279: (4, 1, 64)}  # fmt: skip
    return tiff(usual | {int(name[1:]): value for name, value in tags.items()})


def webp_canvas(width: int, height: int) -> bytes:
    """An animation of one small frame on a canvas of any size."""
    picture = saved("WEBP", lossless=True)[12:]
    place = (
        bytes(6)
        + (47).to_bytes(3, "little")
        + (39).to_bytes(3, "little")
        + (99).to_bytes(3, "little")
        + b"\0"
    )
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + canvas
    body += b"ANIM" + struct.pack("<I", 6) + bytes(6)
    body += b"ANMF" + struct.pack("<I", 16 + len(picture)) + place + picture
    return b"RIFF" + struct.pack("<I", len(body)) + body


def jpeg_of(width: int, height: int, bits: int = 8) -> bytes:
    """A JPEG whose frame header is rewritten."""
    data = saved("JPEG")
    at = data.index(b"\xff\xc0") + 4
    return data[:at] + struct.pack(">BHH", bits, height, width) + data[at + 5 :]


def float_tiff(value: float) -> bytes:
    pixels = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    pixels[3, 3] = value
    return saved("TIFF", pixels, "F")


def other(kind: str) -> bytes:
    return saved(kind)


def wave() -> bytes:
    head = struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", 136, b"WAVEfmt ", 16, 1, 1, 8000, 16000, 2, 16, b"data", 100
    )
    return head + bytes(100)


ROWS: tuple[Row, ...] = (
    # Whole and unusual: to be stored.
    *((f"ok.{kind.lower()}", f"a good {kind}", lambda kind=kind: saved(kind), "")
      for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")),
    ("progressive.jpg", "progressive JPEG", lambda: saved("JPEG", progressive=True), ""),
    ("lzw.tif", "compressed TIFF", lambda: saved("TIFF", compression="tiff_lzw"), ""),
    ("deflate.tif", "compressed TIFF", lambda: saved("TIFF", compression="tiff_adobe_deflate"), ""),
    ("plain.ppm", "PPM in text", lambda: b"P3\n# note\n2 1\n255\n255 0 0  0 0 255\n", ""),
    ("plain.pgm", "PGM in text", lambda: b"P2 2 2 255 0 9 99 255", ""),
    ("bits.pgm", "bitmap named .pgm", lambda: b"P4\n8 1\n\xaa", ""),
    ("upside.bmp", "BMP from the top, height negative", lambda: bmp(8, -8), ""),
    ("packed.bmp", "run-length BMP", lambda: bmp(4, 2, bits=8, packed=1, pixels=b"\4\1\0\0\4\2\0\1"), ""),
    ("frames.webp", "animated WebP", lambda: webp_canvas(48, 40), ""),
    ("after.png", "junk after the end", lambda: saved("PNG") + bytes(999), ""),
    ("after.gif", "junk after the end", lambda: saved("GIF", mode="P") + bytes(999), ""),
    ("interlaced.png", "black and interlaced",
     lambda: png(8, 8, interlaced=1, pixels=zlib.compress(bytes(207))), ""),
    ("line.png", "1 x 5000 pixels", lambda: png(1, 5000, kind=0, pixels=zlib.compress(bytes(10000))), ""),
    ("really_gif.png", "GIF named .png", lambda: saved("GIF", mode="P"), ""),
    ("really_avif.jpg", "AVIF named .jpg, as servers send it", lambda: saved("AVIF"), ""),
    ("lab.tif", "CIE Lab", lambda: saved("TIFF", mode="LAB"), ""),
    ("black.png", "black to the last row", png, ""),
    # Ends too early.
    ("half_avif.jpg", "AVIF cut", half("AVIF"), "truncated"),
    *((f"half.{kind.lower()}", "cut in half", half(kind), "truncated")
      for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")),
    *((f"last.{kind.lower()}", "without its last byte", cut(kind), "truncated")
      for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")),
    *((f"head.{kind.lower()}", "ten bytes", cut(kind, end=10), "truncated")
      for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")),
    ("half_lzw.tif", "compressed TIFF cut", half("TIFF", compression="tiff_lzw"), "truncated"),
    ("half_progressive.jpg", "progressive JPEG cut", half("JPEG", progressive=True), "truncated"),
    ("half_lossless.webp", "lossless WebP cut", half("WEBP", lossless=True), "truncated"),
    ("few_interlaced.png", "an interlaced PNG without its last pass",
     lambda: png(8, 8, interlaced=1, pixels=zlib.compress(bytes(100))), "truncated"),
    ("no_end.png", "all pixels, no IEND", lambda: png(end=b""), "truncated"),
    ("few_rows.png", "fewer rows than promised", lambda: png(8, 800), "truncated"),
    ("half_packed.bmp", "run-length BMP of half its rows", lambda: bmp(4, 4, bits=8, packed=1,
                                                                     pixels=b"\4\1\0\0\4\2"), "truncated"),
    ("half_plain.ppm", "PPM in text, half of it", lambda: b"P3\n2 2\n255\n255 0 0  0 0 255\n", "truncated"),
    ("strip.tif", "its strip lies behind the end", lambda: grey_tiff(t273=(4, 1, 9999)), "truncated"),
    ("directory.tif", "its directory lies behind the end", lambda: b"II*\0\xff\xff\0\0" + bytes(99), "truncated"),
    ("soi.jpg", "two bytes", lambda: b"\xff\xd8", "truncated"),
    # Damaged.
    ("one_bit.png", "one bit of a stored pixel", png_with_one_bit_wrong, "corrupt"),
    ("crc.png", "wrong checksum, right pixels", lambda: png(end=chunk(b"IEND", b"", 7)), "corrupt"),
    ("idat.png", "rows that are no zlib stream", lambda: png(pixels=b"no zlib stream at all"), "corrupt"),
    ("lzw_garbage.tif", "a strip of garbage", lambda: grey_tiff(t259=(3, 1, 8)), "corrupt"),
    ("tables.jpg", "JPEG without its tables", lambda: saved("JPEG").replace(b"\xff\xdb", b"\xff\xe9"), "corrupt"),
    # Other content.
    *((f"page.{end}", "a web page", lambda: PAGE, "not_media") for end in ("jpg", "png", "tiff", "bmp", "ppm")),
    ("zip.png", "a zip archive", lambda: b"PK\3\4" + bytes(99), "not_media"),
    ("gzip.jpg", "gzip", lambda: b"\x1f\x8b\x08\0" + bytes(99), "not_media"),
    ("sound.png", "a WAV", wave, "not_media"),
    ("prose.bmp", "prose that begins with BM", lambda: b"BMW and Porsche build cars. " * 9, "not_media"),
    ("prose.ppm", "prose that begins with P6", lambda: b"P6 is what they call the sixth page. " * 9, "not_media"),
    ("prose.gif", "prose that begins with GIF", lambda: b"GIF8 is how a GIF begins, this is none" * 3, "not_media"),
    ("svg.png", "a drawing that would open a file",
     lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>', "not_media"),
    ("pdf.jpg", "a PDF", lambda: b"%PDF-1.7\n" + bytes(99), "not_media"),
    ("zeros.jpg", "zeros", lambda: bytes(4096), "not_media"),
    ("one.jpg", "one byte", lambda: b"\xff", "not_media"),
    # No decoder here: a picture of another kind runs other code (Ghostscript even).
    ("eps.jpg", "PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nquit\n", "unsupported"),
    *((f"{kind.lower()}.png", f"{kind} named .png", lambda kind=kind: other(kind), "unsupported")
      for kind in ("ICO", "JPEG2000", "PCX")),
    ("psd.png", "Photoshop", lambda: b"8BPS\0\1" + bytes(99), "unsupported"),
    ("twelve.jpg", "12 bits a channel", lambda: jpeg_of(48, 40, 12), "unsupported"),
    ("range.tif", "floats up to 900", lambda: float_tiff(900.0), "unsupported"),
    ("compression.tif", "compression 34712", lambda: grey_tiff(t259=(3, 1, 34712)), "unsupported"),
    # Headers that cannot be.
    ("zero.png", "0 pixels wide", lambda: png(0, 8), "bad_header"),
    ("checksum.png", "header and checksum differ", lambda: flipped(png(), 19), "bad_header"),
    ("bits.png", "7 bits", lambda: png(bits=7), "bad_header"),
    ("zero.jpg", "0 pixels wide", lambda: jpeg_of(0, 40), "bad_header"),
    ("zero.bmp", "0 pixels wide", lambda: bmp(0, 8), "bad_header"),
    ("minus.bmp", "-8 pixels wide", lambda: bmp(-8, 8), "bad_header"),
    ("zero.tif", "0 pixels wide", lambda: grey_tiff(t256=(4, 1, 0)), "bad_header"),
    ("zero.ppm", "0 pixels wide", lambda: b"P6 0 8 255\n", "bad_header"),
    ("minus.ppm", "-8 pixels wide", lambda: b"P6 -8 8 255\n" + bytes(192), "bad_header"),
    ("maxval.ppm", "white is 0", lambda: b"P6 8 8 0\n" + bytes(192), "bad_header"),
    ("zero.gif", "0 pixels wide", lambda: gif((0, 0), (0, 0)), "bad_header"),
    # Bombs.
    *((f"bomb.{end}", "more pixels than memory", lambda make=make: make(60000, 60000), "too_large")
      for end, make in (("png", png), ("jpg", jpeg_of), ("bmp", bmp))),
    ("bomb.ppm", "more pixels than memory", lambda: b"P6 60000 60000 255\n" + bytes(99), "too_large"),
    ("bomb.tif", "more pixels than memory", lambda: grey_tiff(t256=(4, 1, 60000), t257=(4, 1, 60000)), "too_large"),
    ("bomb.gif", "a large screen", lambda: gif((60000, 60000), (1, 1)), "too_large"),
    ("frame.gif", "a small screen, a large frame", lambda: gif((1, 1), (60000, 60000)), "too_large"),
    ("canvas.webp", "a large canvas, a small frame", lambda: webp_canvas(16000, 16000), "too_large"),
    ("vast.webp", "a canvas of 2^31 pixels", lambda: webp_canvas(65536, 32768), "too_large"),
    ("tall.png", "2^31 - 1 pixels high", lambda: png(1, 2**31 - 1), "too_large"),
    ("under.png", "under Pillow's limit, over ours", lambda: png(9000, 9000), "too_large"),
    ("text.png", "text that inflates to 200 MB",
     lambda: png(more=chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(200_000_000)))), "too_large"),
    ("itext.png", "international text that inflates",
     lambda: png(more=chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(99_000_000)))), "too_large"),
    ("profile.png", "a colour profile that inflates",
     lambda: png(more=chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(99_000_000)))), "too_large"),
    ("count.tif", "a tag of 2^31 numbers", lambda: grey_tiff(t273=(4, 2**31, 8)), "truncated"),
    # No numbers.
    ("nan.tif", "one pixel is NaN", lambda: float_tiff(float("nan")), "non_finite"),
    ("inf.tif", "one pixel is infinite", lambda: float_tiff(float("inf")), "non_finite"),
    ("nan.pgm", "float map with NaN", lambda: b"Pf\n1 2\n-1\n" + struct.pack("<ff", 1, float("nan")), "non_finite"),
    # Nothing in it.
    ("none.gif", "a GIF without a frame", lambda: b"GIF89a\x08\0\x08\0\0\0\0\x3b", "no_content"),
    ("none.png", "a PNG without pixels", lambda: png().replace(chunk(b"IDAT", zlib.compress(bytes(25) * 8)), b""),
     "no_content"),
)  # fmt: skip
