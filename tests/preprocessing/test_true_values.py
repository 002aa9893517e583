"""What is stored is what the file shows or sounds like, where libraries change it without a word."""

import io
from typing import Any

import numpy as np
import pytest
import soundfile
import trimesh
from malformed_images import chunk, png
from numpy.typing import NDArray
from PIL import Image

from preprocessing.decoders import audio, image, mesh_files
from preprocessing.settings import AudioSettings, ImageSettings
from preprocessing.source import Source

PIXELS = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)


def saved(picture: Image.Image, kind: str, **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **more)
    return file.getvalue()


def stored(data: bytes, **asked: Any) -> NDArray[np.uint8]:
    return image.decode(Source(data=data, suffix=".png"), ImageSettings(**{"size": 8, **asked}))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_of_eight_orientations_is_turned_upright(orientation: int, kind: str) -> None:
    undone = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
              5: lambda a: a.transpose(1, 0, 2), 6: np.rot90, 7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
              8: lambda a: np.rot90(a, -1)}  # fmt: skip
    exif = Image.Exif()
    exif[274] = orientation
    lying = Image.fromarray(np.ascontiguousarray(undone[orientation](PIXELS)))

    data = saved(lying, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))

    np.testing.assert_array_equal(stored(data), PIXELS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("order", ["<u2", ">u2"])
def test_sixteen_bit_grey_keeps_its_middle(kind: str, order: str) -> None:
    ramp = np.linspace(0, 65535, 64).astype(order).reshape(8, 8)

    data = saved(Image.frombytes("I;16" if order == "<u2" else "I;16B", (8, 8), ramp.tobytes()), kind)

    np.testing.assert_array_equal(stored(data)[..., 0], np.rint(ramp / 257).astype(np.uint8))


def test_sixteen_bit_colour_keeps_its_high_byte() -> None:
    import zlib

    rows = b"".join(b"\0" + (PIXELS[row].astype(">u2") * 257).tobytes() for row in range(8))

    np.testing.assert_array_equal(stored(png(bits=16, pixels=zlib.compress(rows))), PIXELS)


def test_a_sixteen_bit_pgm_is_scaled_by_its_own_white() -> None:
    data = b"P5 4 1 1000\n" + np.array([0, 250, 500, 1000], ">u2").tobytes()

    assert stored(data, size=4, fit="stretch")[0, :, 0].tolist() == [0, 64, 128, 255]


def test_one_bit_is_black_and_white() -> None:
    dots = np.indices((8, 8)).sum(axis=0) % 2 == 0

    np.testing.assert_array_equal(stored(saved(Image.fromarray(dots), "PNG"))[..., 2], dots * 255)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_what_shows_through_is_laid_over_white(mode: str, alpha: int) -> None:
    grey = Image.new(mode, (8, 8), (60, alpha) if mode == "LA" else (60, 60, 60, alpha))

    expected = round(60 * alpha / 255 + 255 * (1 - alpha / 255))

    assert np.abs(stored(saved(grey, "PNG")).astype(int) - expected).max() <= 1


def test_a_transparent_colour_of_a_palette_is_white() -> None:
    coloured = Image.new("P", (8, 8), 1)
    coloured.putpalette([255, 0, 0, 255, 0, 255])

    assert (stored(saved(coloured, "PNG", transparency=1)) == 255).all()
    assert (stored(saved(coloured, "GIF", transparency=1)) == 255).all()
    assert (stored(saved(coloured, "PNG")) == (255, 0, 255)).all()


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "L", "RGB"])
def test_a_jpeg_of_any_colours_is_not_inverted(mode: str) -> None:
    red = Image.new("RGB", (8, 8), (200, 40, 40)).convert(mode)

    shown = stored(saved(red, "JPEG", quality=100)).astype(int)

    expected = (88, 88, 88) if mode == "L" else (200, 40, 40)
    assert np.abs(shown - expected).max() < 6


def test_floats_up_to_one_are_scaled_and_others_kept() -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)

    for scale in (1, 255):
        np.testing.assert_allclose(
            stored(saved(Image.fromarray(ramp * np.float32(scale)), "TIFF"))[..., 0], ramp * 255, atol=0.6
        )


def test_of_an_animation_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (8, 8), (255 * (n == 0), 255 * (n == 1), 255 * (n == 2))) for n in range(3)]

    for kind, more in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **more)
        assert (stored(data) == (255, 0, 0)).all(), kind


@pytest.mark.parametrize("wide", [True, False])
def test_a_line_of_pixels_is_padded_and_no_error(wide: bool) -> None:
    line = Image.new("RGB", (4000, 1) if wide else (1, 4000), (255, 0, 0))

    shown = stored(saved(line, "PNG"), fit="pad")

    assert (shown.any(axis=2).sum(axis=0 if wide else 1) == 1).all()


def test_text_in_a_picture_is_not_its_pixels() -> None:
    data = png(more=chunk(b"tEXt", b"Comment\0hello"))

    assert (stored(data) == 0).all()


def heard(
    samples: NDArray[Any], coding: str, kind: str = "WAV", rate: int = 8000, **asked: Any
) -> NDArray[np.int16]:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=coding)
    source = Source(data=file.getvalue(), suffix=".wav")
    return audio.decode(source, AudioSettings(**{"rate": 8000, **asked}))


@pytest.mark.parametrize(
    ("kind", "coding", "error"),
    [("WAV", "PCM_U8", 300), ("WAV", "PCM_16", 0), ("WAV", "PCM_24", 1), ("WAV", "PCM_32", 1),
     ("WAV", "FLOAT", 1), ("WAV", "DOUBLE", 1), ("WAV", "ULAW", 700), ("WAV", "ALAW", 700),
     ("RF64", "PCM_16", 0), ("W64", "PCM_16", 0), ("AIFF", "PCM_S8", 300), ("AIFF", "PCM_24", 1),
     ("AU", "PCM_16", 0), ("FLAC", "PCM_24", 1)],
)  # fmt: skip
def test_every_coding_gives_the_same_sound_without_an_offset(kind: str, coding: str, error: int) -> None:
    wave = np.round(np.sin(np.arange(4000) / 9) * 13107) / 32768

    kept = heard(wave, coding, kind)[:, 0].astype(int)

    assert np.abs(kept - wave * 32768).max() <= error
    assert abs(kept.mean() - wave.mean() * 32768) < 200


def test_several_channels_are_averaged_and_opposite_ones_are_silence() -> None:
    tone = np.sin(np.arange(4000) / 9) * 0.5

    assert (heard(np.stack([tone, -tone], axis=1), "PCM_16") == 0).all()
    eight = heard(np.stack([tone * n / 7 for n in range(8)], axis=1), "FLOAT")[:, 0]
    np.testing.assert_allclose(eight, tone * 16384, atol=1)


@pytest.mark.parametrize("rate", [11_025, 44_101, 47_999, 192_000])
def test_an_odd_rate_keeps_length_and_pitch(rate: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(rate) / rate)

    kept = heard(tone, "PCM_16", rate=rate)[:, 0]

    assert abs(len(kept) - 8000) <= 1
    assert np.abs(np.fft.rfft(kept)).argmax() == 440


def test_a_sound_longer_than_a_block_is_the_same_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).normal(0, 0.2, (9000, 2))

    at_once = heard(noise, "PCM_16", "FLAC")
    monkeypatch.setattr(audio, "BLOCK", 777)

    np.testing.assert_array_equal(heard(noise, "PCM_16", "FLAC"), at_once)


BALL = trimesh.creation.icosphere(subdivisions=2)


@pytest.mark.parametrize(
    ("ending", "more"),
    [("ply", {"encoding": "ascii"}), ("ply", {"encoding": "binary"}), ("glb", {}), ("stl", {}),
     ("stl_ascii", {}), ("obj", {}), ("off", {})],
)  # fmt: skip
def test_a_mesh_is_read_as_trimesh_reads_it(ending: str, more: dict[str, Any]) -> None:
    data = BALL.export(file_type=ending, **more)
    data = data if isinstance(data, bytes) else data.encode()
    theirs = trimesh.load_scene(io.BytesIO(data), file_type=ending, process=False).to_mesh()

    vertices, faces = mesh_files.read(data, f".{ending.partition('_')[0]}")

    np.testing.assert_array_equal(vertices[faces], theirs.vertices[theirs.faces])


def test_a_scene_shows_each_mesh_at_each_place_turned_and_scaled() -> None:
    scene = trimesh.Scene()
    turned = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3])
    for move in ([4, 0, 0], [0, 5, 0]):
        place = trimesh.transformations.translation_matrix(move) @ turned @ np.diag([1, 2, 3, 1])
        scene.add_geometry(BALL, geom_name="ball", transform=place)
    data = scene.export(file_type="glb")
    theirs = trimesh.load_scene(io.BytesIO(data), file_type="glb", process=False).to_mesh()

    vertices, faces = mesh_files.read(data, ".glb")

    ours = np.sort(vertices[faces].mean(axis=1), axis=0)
    np.testing.assert_allclose(ours, np.sort(theirs.triangles.mean(axis=1), axis=0), atol=1e-5)
