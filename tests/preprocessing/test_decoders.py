"""Each decoder stores what a person would see or hear, or says why it cannot."""

import io
import zlib
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as some
from numpy.typing import NDArray
from PIL import Image

from preprocessing import source
from preprocessing.build import decode
from preprocessing.decoders import audio, image, mesh, mesh_files, video
from preprocessing.plan import Part
from preprocessing.refusal import REASONS, Refused
from preprocessing.settings import (
    AudioSettings,
    DataSettings,
    ImageSettings,
    MeshSettings,
    VideoSettings,
)
from preprocessing.source import Source

SMALL = ImageSettings(size=8)


def encoded(picture: Image.Image, kind: str = "PNG", **more: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **more)
    return file.getvalue()


def stored_image(data: bytes, asked: ImageSettings = SMALL) -> NDArray[np.uint8]:
    return image.decode(Source(data=data, suffix=".png"), asked)


def test_sixteen_bit_grey_is_scaled_and_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)

    stored = stored_image(encoded(Image.fromarray(ramp)))

    np.testing.assert_array_equal(stored[..., 1], np.rint(ramp / 257).astype(np.uint8))


def test_a_picture_is_turned_as_its_exif_says() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0, 0] = 255
    exif = Image.Exif()
    exif[274] = 6

    stored = stored_image(encoded(Image.fromarray(pixels), exif=exif))

    np.testing.assert_array_equal(stored, np.rot90(pixels, -1))


def test_colour_under_transparency_does_not_come_out() -> None:
    hidden = Image.new("RGBA", (8, 8), (255, 0, 255, 0))

    assert (stored_image(encoded(hidden)) == 255).all()


@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_a_wide_picture_becomes_square_as_asked(fit: Any) -> None:
    pixels = np.zeros((9, 27, 3), np.uint8)
    pixels[:, 9:18] = 200

    stored = stored_image(encoded(Image.fromarray(pixels)), ImageSettings(size=9, fit=fit))

    bright = (stored[4, :, 0] > 100).sum()
    assert bright == (9 if fit == "crop" else 3)
    assert ((stored[0] == 0).all()) == (fit == "pad")


def test_a_bomb_is_refused_from_its_header() -> None:
    header = bytearray(encoded(Image.new("RGB", (8, 8))))
    header[16:24] = (9000).to_bytes(4, "big") * 2
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")

    with pytest.raises(Refused, match=r"too_large: 9000 x 9000 pixels"):
        stored_image(bytes(header))


def test_half_a_picture_is_truncated_and_a_web_page_no_media() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)

    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(Image.fromarray(noise), kind)
        with pytest.raises(Refused, match="truncated"):
            stored_image(data[: len(data) // 2])
    with pytest.raises(Refused, match="not_media"):
        stored_image(b"<!DOCTYPE html><title>404</title>")


def waved(samples: NDArray[Any], rate: int = 8000, **more: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **{"format": "WAV", "subtype": "PCM_16", **more})
    return file.getvalue()


def stored_sound(data: bytes, **asked: Any) -> NDArray[np.int16]:
    return audio.decode(Source(data=data, suffix=".wav"), AudioSettings(**{"rate": 8000, **asked}))


@given(some.lists(some.integers(-32768, 32767), min_size=1, max_size=99))
@settings(max_examples=40, deadline=None)
def test_sixteen_bit_sound_at_the_stored_rate_keeps_every_bit(samples: list[int]) -> None:
    sound = np.array(samples, np.int16)

    np.testing.assert_array_equal(stored_sound(waved(sound))[:, 0], sound)


def test_resampling_keeps_pitch_and_length() -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(44101) / 44101)

    stored = stored_sound(waved(tone, 44101))[:, 0]

    assert len(stored) == 8000
    assert np.abs(np.fft.rfft(stored)).argmax() == 440
    assert abs(int(stored.max()) - 16384) < 200


def test_channels_are_averaged_or_repeated() -> None:
    stereo = np.array([[1000, 3000]] * 20, np.int16)

    assert (stored_sound(waved(stereo)) == 2000).all()
    assert stored_sound(waved(stereo), channels=2).tolist() == stereo.tolist()
    assert stored_sound(waved(stereo[:, 0]), channels=2).tolist() == [[1000, 1000]] * 20


def test_louder_than_full_scale_is_clipped_and_nan_refused() -> None:
    loud = np.array([8.0, -8.0, 0.0], np.float32)

    assert stored_sound(waved(loud, subtype="FLOAT"))[:, 0].tolist() == [32767, -32768, 0]
    loud[1] = np.nan
    with pytest.raises(Refused, match="non_finite: 1 samples"):
        stored_sound(waved(loud, subtype="FLOAT"))


def test_half_a_sound_is_truncated_and_none_no_content() -> None:
    noise = np.random.default_rng(0).integers(-9999, 9999, 4000).astype(np.int16)

    for kind in ("WAV", "FLAC"):
        data = waved(noise, format=kind)
        with pytest.raises(Refused, match="truncated"):
            stored_sound(data[: len(data) // 2])
    with pytest.raises(Refused, match="no_content"):
        stored_sound(waved(noise[:0]))


def test_a_flac_that_promises_more_than_it_holds_is_truncated_and_takes_no_memory() -> None:
    data = bytearray(waved(np.arange(4000, dtype=np.int16), format="FLAC"))
    data[21] |= 0x0F  # the 36 bits of the number of samples
    data[22:26] = b"\xff" * 4

    with pytest.raises(Refused, match="truncated"):
        stored_sound(bytes(data))


def test_a_sound_of_unknown_length_ends_with_the_file() -> None:
    data = bytearray(waved(np.arange(100, dtype=np.int16)))
    data[4:8] = data[40:44] = b"\xff\xff\xff\xff"

    assert stored_sound(bytes(data))[:, 0].tolist() == [*range(100)]


def test_of_a_long_sound_the_longest_stored_part_is_kept() -> None:
    assert stored_sound(waved(np.ones(9000, np.int16)), max_seconds=0.5).shape == (4000, 1)


def test_a_header_that_cannot_be_is_refused() -> None:
    data = bytearray(waved(np.arange(100, dtype=np.int16)))
    data[24:28] = bytes(4)

    with pytest.raises(Refused, match="bad_header: 1 channels at 0 Hz"):
        stored_sound(bytes(data))


def stored_mesh(data: bytes, suffix: str = ".off", seed: int = 0, **asked: Any) -> NDArray[np.float32]:
    settings = MeshSettings(**{"stored": 2000, "points": 100, **asked})
    return mesh.decode(Source(data=data, suffix=suffix, seed=seed), settings)


BOX = trimesh.creation.box((1, 2, 3))
OFF = trimesh.exchange.off.export_off(BOX).encode()


@pytest.mark.parametrize("kind", ["off", "obj", "ply", "stl", "glb", "stl_ascii"])
def test_every_format_gives_the_same_surface(kind: str) -> None:
    data = BOX.export(file_type=kind)
    data = data.encode() if isinstance(data, str) else data

    points = stored_mesh(data, f".{kind.split('_', maxsplit=1)[0]}")

    half = np.array([1, 2, 3]) / np.sqrt(14)
    np.testing.assert_allclose(np.abs(points).max(axis=0), half, atol=1e-2)
    assert (np.isclose(np.abs(points), half, atol=1e-6).any(axis=1)).all()  # each lies on a side


def test_points_are_uniform_over_the_area_and_so_is_every_prefix() -> None:
    points = stored_mesh(OFF, stored=9000)
    half = np.array([1, 2, 3]) / np.sqrt(14)
    share = np.array([6, 3, 2]) / 11  # of the sides across x, y and z

    for prefix in (points, points[:3000]):
        sides = np.isclose(np.abs(prefix), half, atol=1e-6).mean(axis=0)
        np.testing.assert_allclose(sides, share, atol=0.03)


def test_points_depend_on_the_sample_and_on_nothing_else() -> None:
    assert stored_mesh(OFF, seed=1).tolist() == stored_mesh(OFF, seed=1).tolist()
    assert stored_mesh(OFF, seed=1).tolist() != stored_mesh(OFF, seed=2).tolist()


def test_normals_point_outwards_whatever_the_order_of_corners() -> None:
    flipped = trimesh.Trimesh(BOX.vertices, BOX.faces[:, ::-1], process=False)

    for box in (BOX, flipped):
        stored = stored_mesh(trimesh.exchange.off.export_off(box).encode(), normals=True)
        assert stored.shape == (2000, 6)
        assert ((stored[:, :3] * stored[:, 3:]).sum(axis=1) > 0).all()
        np.testing.assert_allclose(np.linalg.norm(stored[:, 3:], axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "suffix", "reason"),
    [
        ("OFF\n3 2 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", ".off", "truncated"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 9\n", ".off", "bad_index"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n0 nan 0\n3 0 1 2\n", ".off", "non_finite"),
        ("OFF\n3 1 0\n0 0 0\n1 0 0\n2 0 0\n3 0 1 2\n", ".off", "degenerate"),
        ("OFF\n3 0 0\n0 0 0\n1 0 0\n0 1 0\n", ".off", "no_content"),
        ("v 0 0 0\n", ".off", "not_media"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n", ".obj", "bad_index"),
        ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n", ".obj", "bad_index"),
        ("verily for all\nf is a letter\n", ".obj", "not_media"),
        ("ply\nformat ascii 1.0\nelement vertex 4000000000\nend_header\n", ".ply", "truncated"),
        ('{"meshes": [{}], "buffers": [{"uri": "../../etc/passwd"}]}', ".gltf", "external_ref"),
        ('{"asset": {}}', ".gltf", "no_content"),
    ],
)
def test_a_bad_mesh_is_refused_with_its_reason(text: str, suffix: str, reason: str) -> None:
    with pytest.raises(Refused) as refusal:
        stored_mesh(text.encode(), suffix)

    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    ("text", "suffix"),
    [
        ("OFF4 2 0\n0 0 0\n1 0 0\n1 1 0\n0 1 0\n3 0 1 2\n3 0 2 3\n", ".off"),
        ("# note\nOFF # note\n\n4 1 0\n0 0 0\n1 0 0 # note\n1 1 0\n0 1 0\n4 0 1 2 3 255 0 0\n", ".off"),
        ("v\t0 0 0\r\nv 1 0 0\r\nv 1 1 0\r\nv 0 1 0\r\nf 1/1/1 2//2 \\\r\n 3 -1\r\n", ".obj"),
        ("mtllib ../../etc/passwd\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nf -4 -3 -2 -1\n", ".obj"),
    ],
)
def test_an_unusual_mesh_is_read(text: str, suffix: str) -> None:
    vertices, faces = mesh_files.read(text.encode(), suffix)

    assert vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3]]


@pytest.mark.parametrize("scale", [1e-25, 1.0, 1e30])
def test_any_scale_ends_in_the_unit_sphere(scale: float) -> None:
    box = trimesh.Trimesh(BOX.vertices * scale, BOX.faces, process=False)

    points = stored_mesh(trimesh.exchange.off.export_off(box, digits=40).encode() if scale < 1 else
                         trimesh.exchange.off.export_off(box).encode())  # fmt: skip

    assert 0.9 < np.linalg.norm(points, axis=1).max() <= 1 + 1e-6


def clip(frames: int, *, kind: str = "mp4", sounding: bool = True) -> bytes:
    """A clip whose frames grow brighter, with a second of noise."""
    file = io.BytesIO()
    with av.open(file, "w", kind) as out:
        pictures = out.add_stream("mpeg4", 24)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 16, "yuv420p"
        sounds = (
            out.add_stream("aac" if kind == "mp4" else "pcm_s16le", 8000, layout="mono") if sounding else None
        )
        for number in range(frames):
            pixels = np.full((16, 32, 3), 10 * number, np.uint8)
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels)))
        out.mux(pictures.encode())
        if sounds:
            noise = np.random.default_rng(0).normal(0, 0.1, (1, 8000)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            frame.rate = 8000
            out.mux(sounds.encode(frame))
            out.mux(sounds.encode())
    return file.getvalue()


def stored_clip(data: bytes, **asked: Any) -> NDArray[np.uint8]:
    return video.decode(Source(data=data, suffix=".mp4"), VideoSettings(**{"size": 16, "rate": 8.0, **asked}))


def test_a_clip_gives_the_frame_on_the_screen_at_each_instant() -> None:
    stored = stored_clip(clip(24))

    assert stored.shape == (8, 16, 16, 3)
    np.testing.assert_allclose(stored.mean(axis=(1, 2, 3)), [10 * 3 * k for k in range(8)], atol=4)


@pytest.mark.parametrize(("frames", "rate", "expected"), [(1, 8.0, 1), (24, 48.0, 48), (24, 2.0, 2)])
def test_a_clip_is_as_long_as_it_lasts(frames: int, rate: float, expected: int) -> None:
    assert len(stored_clip(clip(frames), rate=rate)) == expected


def test_of_a_long_clip_the_longest_stored_part_is_kept() -> None:
    assert len(stored_clip(clip(24), max_seconds=0.5)) == 4


@pytest.mark.parametrize("kind", ["mp4", "avi", "matroska"])
def test_a_clip_has_a_sound_track_or_says_it_has_none(kind: str) -> None:
    asked = AudioSettings(rate=8000)

    stored = audio.decode(Source(data=clip(24, kind=kind), suffix=".avi"), asked)

    assert stored.shape[1] == 1
    assert 8000 <= len(stored) < 11_000  # AAC rounds up to blocks of 1,024
    with pytest.raises(Refused, match="no_content: the clip has no sound track"):
        audio.decode(Source(data=clip(24, kind=kind, sounding=False), suffix=".avi"), asked)


def test_half_a_clip_is_truncated_and_text_no_media() -> None:
    data = clip(24)

    with pytest.raises(Refused, match="truncated"):
        stored_clip(data[: len(data) // 2])
    with pytest.raises(Refused, match="not_media"):
        stored_clip(b"no clip\n" * 99)
    with pytest.raises(Refused, match="too_large"):
        stored_clip(data, max_pixels=500)


@given(some.binary(max_size=400), some.sampled_from(["image", "audio", "mesh", "video"]), some.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_no_content_takes_a_decoder_down(data: bytes, modality: Any, kind: int) -> None:
    openings = {
        "image": [b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\xff\0\0\0WEBP", b"BM", b""],
        "audio": [b"RIFF\xff\0\0\0WAVEfmt ", b"fLaC", b"OggS", b"ID3", b".snd", b""],
        "mesh": [b"OFF\n", b"v 0 0 0\nf ", b"ply\nformat ascii 1.0\n", b"solid ", b"glTF\2\0\0\0", b"{"],
        "video": [b"\0\0\0\x18ftypmp42", b"\x1aE\xdf\xa3", b"RIFF\xff\0\0\0AVI ", b"FLV\1", b"G@", b""],
    }
    endings = {
        "image": [".png"] * 6,
        "audio": [".wav"] * 6,
        "mesh": [".off", ".obj", ".ply", ".stl", ".glb", ".gltf"],
        "video": [".mp4"] * 6,
    }
    content = openings[modality][kind] + data
    part = Part(modality, f"cat/x{endings[modality][kind]}", len(content), 0)

    reason = "none"
    try:
        decode(part, content, "cat/x", DataSettings(raw="r"))
    except Refused as refusal:
        reason = refusal.reason

    assert reason in ("none", *REASONS)


def test_whatever_a_decoder_raises_is_the_files_fault() -> None:
    class Broken:
        def decode(self, *_: Any) -> None:
            raise ZeroDivisionError("of a decoder")

    with pytest.raises(Refused, match="corrupt: ZeroDivisionError: of a decoder"):
        decode(Part("image", "a.png", 1, 0), b"x", "a", DataSettings(raw="r"), {"image": Broken()})


@pytest.mark.timeout(10)
def test_a_pipe_that_took_the_files_place_is_not_waited_for(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe.png")

    with pytest.raises(Refused, match="not_regular"):
        source.read(tmp_path / "pipe.png")


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "large.off").open("wb") as file:
        file.truncate(2**31 + 1)  # Takes no room on the disk.

    with pytest.raises(Refused, match=r"too_large: 2147483649 bytes; data.max_bytes is 2147483648"):
        source.read(tmp_path / "large.off")
    (tmp_path / "small.off").write_bytes(bytes(11))
    with pytest.raises(Refused, match=r"data\.max_bytes is 10"):
        source.read(tmp_path / "small.off", 10)
