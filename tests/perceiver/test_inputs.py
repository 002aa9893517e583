"""Inputs of every modality: static shapes, seeds, masks, and what a position holds."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perceiver.audio import AudioInput
from perceiver.image import ImageInput
from perceiver.inputs import INPUTS, Spec, build_input
from perceiver.mesh import MeshInput, MeshSpec
from perceiver.segment import Geometry, Raw
from perceiver.train_settings import AudioAugmentation, MeshAugmentation, PixelAugmentation, TrainSettings
from perceiver.video import VideoInput
from perceiver.windows import windows

NAMES = ["image", "mel", "wave", "mesh", "video"]
LOUD = TrainSettings(
    image=PixelAugmentation(shift=1, flip=0.5),
    audio=AudioAugmentation(time_masks=2, bin_masks=1),
    mesh=MeshAugmentation(scale=0.1, stretch=0.01, jitter=0.02, turn=180.0, tilt=20.0),
    video=PixelAugmentation(area=0.5, brightness=0.3),
)
Samples = list[dict[str, np.ndarray[Any, np.dtype[Any]]]]


def made(name: str, specs: dict[str, Spec]) -> Any:
    return build_input("audio" if name in ("mel", "wave") else name, specs[name])


@pytest.mark.parametrize("name", NAMES)
def test_an_input_keeps_its_promise_of_positions_and_channels(
    name: str, specs: dict[str, Spec], samples: Samples
) -> None:
    part = made(name, specs)

    values, axes, encoding, mask = part(part.collate([sample[name] for sample in samples], None))

    promised = part.geometry
    assert values.shape == (7, promised.positions, promised.values)
    assert len(axes) == promised.axes
    assert not axes or math.prod(len(table) for table in axes) == promised.positions
    assert values.shape[2] + sum(table.shape[1] for table in axes) == promised.channels
    assert encoding is None
    assert values.isfinite().all()
    assert mask is None or mask.any(1).all()
    assert not part.state_dict()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seeds", [None, torch.arange(4)])
def test_samples_in_one_array_become_the_same_batch_as_samples_apart(
    name: str, seeds: torch.Tensor | None, specs: dict[str, Spec], samples: Samples
) -> None:
    part, array = made(name, specs), samples[0][name]
    apart = [np.roll(array, number) for number in range(4)]

    together = part.collate(np.stack(apart), seeds)

    for found, wanted in zip(together, part.collate(apart, seeds), strict=True):
        assert found is wanted is None or (found.dtype == wanted.dtype and torch.equal(found, wanted))


def test_images_in_one_array_are_not_copied(specs: dict[str, Spec], samples: Samples) -> None:
    together = np.stack([samples[0]["image"]] * 3)

    values = made("image", specs).collate(together, None).values

    assert values.data_ptr() == together.ctypes.data


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_is_cut_and_changed_the_same_way_whatever_its_place(
    name: str, specs: dict[str, Spec], samples: Samples
) -> None:
    part, seeds, order = made(name, specs), torch.arange(7) + 40, [4, 2, 6]
    arrays = [sample[name] for sample in samples]

    whole = part(part.augment(part.collate(arrays, seeds), seeds, LOUD))
    chosen = part.collate([arrays[i] for i in order], seeds[order])
    some = part(part.augment(chosen, seeds[order], LOUD))

    torch.testing.assert_close(some.values, whole.values[order], rtol=1e-4, atol=1e-4)
    assert whole.mask is None or torch.equal(some.mask, whole.mask[order])


@pytest.mark.parametrize("name", NAMES)
def test_other_seeds_change_a_sample_otherwise_and_evaluation_never(
    name: str, specs: dict[str, Spec], samples: Samples
) -> None:
    part, seeds = made(name, specs), torch.arange(7)
    arrays = [sample[name] for sample in samples]

    first, second = (
        part(part.augment(part.collate(arrays, s), s, LOUD)).values for s in (seeds, seeds + 100)
    )

    assert not torch.allclose(first, second, atol=1e-2)
    assert torch.equal(part.collate(arrays, None).values, part.collate(arrays[::-1], None).values.flip(0))


@pytest.mark.parametrize("name", ["mel", "wave", "video"])
def test_what_lies_outside_a_clip_never_reaches_the_byte_array(
    name: str, specs: dict[str, Spec], samples: Samples
) -> None:
    part = made(name, specs)
    raw = part.collate([sample[name] for sample in samples], None)
    outside = torch.arange(raw.values.shape[1])
    outside = (outside < raw.spans[:, :1]) | (outside >= raw.spans[:, 1:])
    filled = raw.values.clone()
    filled[outside] = 99

    clean, dirty = part(raw), part(Raw(filled, raw.spans))

    assert outside.any()
    assert torch.equal(clean.values, dirty.values)
    assert torch.equal(clean.mask, dirty.mask)


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=5),
    size=st.integers(1, 20),
    seed=st.none() | st.integers(0, 10**9),
)
def test_a_window_holds_one_unbroken_stretch_of_its_clip(
    lengths: list[int], size: int, seed: int | None
) -> None:
    arrays = [np.arange(1, length + 1, dtype=np.int16)[:, None] for length in lengths]
    seeds = None if seed is None else seed + torch.arange(len(lengths))

    values, spans, _ = windows(arrays, size, seeds)

    assert spans is not None
    for row, (start, end), length in zip(values[..., 0], spans.tolist(), lengths, strict=True):
        part = row[start:end]
        assert len(part) == min(length, size)
        assert (part.diff() == 1).all()
        assert 1 <= part[0] <= part[-1] <= length
        assert not row[:start].any()
        assert not row[end:].any()


def test_windows_are_random_in_training_and_central_in_evaluation() -> None:
    long, short = np.arange(100, dtype=np.int16)[:, None], np.ones((10, 1), np.int16)

    drawn = windows([long] * 500, 20, torch.arange(500)).values[:, 0, 0]
    placed = windows([short] * 500, 20, torch.arange(500)).spans
    central = windows([long, short], 20, None)

    assert (drawn.min(), drawn.max()) == (0, 80)
    assert placed is not None
    assert (placed[:, 0].min(), placed[:, 0].max()) == (0, 10)
    assert central.values[0, 0, 0] == 40
    assert central.spans is not None
    assert central.spans.tolist() == [[0, 20], [5, 15]]


def test_an_image_position_holds_its_patch_normalised(specs: dict[str, Spec], samples: Samples) -> None:
    part = ImageInput(specs["image"])  # type: ignore[arg-type]
    image = samples[0]["image"].astype(np.float32)

    values = part(part.collate([samples[0]["image"]], None)).values[0]

    patch = (image[2:4, 4:6] - [120, 110, 100]) / [60, 50, 40]  # row 1 of 4, column 2 of 3
    np.testing.assert_allclose(values[1 * 3 + 2].numpy(), patch.ravel(), rtol=1e-5)


def test_a_video_position_holds_its_block_of_two_frames(specs: dict[str, Spec], samples: Samples) -> None:
    part = VideoInput(specs["video"])  # type: ignore[arg-type]
    clip = samples[0]["video"].astype(np.float32)

    values = part(part.collate([samples[0]["video"]], None)).values[0]

    block = (clip[2:4, 8:16, :8] - [120, 110, 100]) / [60, 50, 40]  # block 1 of 2, row 1 of 2, column 0 of 2
    np.testing.assert_allclose(values[1 * 4 + 1 * 2].numpy(), block.ravel(), rtol=1e-5)


def test_a_mel_position_holds_its_bins_of_its_frame(specs: dict[str, Spec], samples: Samples) -> None:
    part = AudioInput(specs["mel"])  # type: ignore[arg-type]
    raw = part.collate([samples[0]["mel"]], None)
    assert part.spec.mel is not None

    levels = part.spectrogram(raw, part.spec.mel)

    assert torch.equal(part(raw).values[0, 4 * 3 + 2], levels[0, 4, 8:12, 0])  # frame 4, bins 8 to 11
    assert levels.mean() == pytest.approx(0, abs=1e-5)
    assert levels.std() == pytest.approx(1, abs=0.01)


def test_a_position_of_all_bins_knows_its_time_only(specs: dict[str, Spec], samples: Samples) -> None:
    spec = replace(specs["mel"], bins=12)  # type: ignore[type-var]

    part = AudioInput(spec)  # type: ignore[arg-type]

    assert part.geometry == Geometry(positions=10, channels=12 + 7, values=12, axes=1)
    assert part(part.collate([samples[0]["mel"]], None)).values.shape == (1, 10, 12)


def test_mel_levels_ignore_how_loud_a_clip_was_recorded(specs: dict[str, Spec], samples: Samples) -> None:
    part = AudioInput(specs["mel"])  # type: ignore[arg-type]
    raw = part.collate([samples[2]["mel"]], None)
    louder = raw._replace(values=raw.values * 4)

    torch.testing.assert_close(part(louder).values, part(raw).values, rtol=1e-3, atol=1e-3)


def test_a_waveform_has_unit_level_within_its_clip_and_silence_stays_silent(
    specs: dict[str, Spec], samples: Samples
) -> None:
    part = AudioInput(specs["wave"])  # type: ignore[arg-type]
    short, silent = samples[1]["wave"], np.zeros((300, 1), np.int16)

    quiet, loud, silence = part(part.collate([short, short * 4, silent], None)).values

    torch.testing.assert_close(quiet, loud)
    assert quiet.square().sum().item() == pytest.approx(300, rel=1e-4)  # 300 real samples
    assert torch.equal(silence, torch.zeros_like(silence))


def test_spec_augment_hides_whole_frames_and_whole_bins(specs: dict[str, Spec], samples: Samples) -> None:
    part, seeds = AudioInput(specs["mel"]), torch.arange(200)  # type: ignore[arg-type]
    raw = part.collate([samples[0]["mel"]] * 200, seeds)

    def hidden(**chosen: Any) -> torch.Tensor:
        settings = TrainSettings(audio=AudioAugmentation(**chosen))
        return part.augment(raw, seeds, settings).values[..., 0] == 0

    frames, bins = hidden(time_masks=1, time_share=0.3), hidden(bin_masks=1, bin_share=0.25)

    assert torch.equal(frames.any(2), frames.all(2))
    assert torch.equal(bins.any(1), bins.all(1))
    assert frames.any(2).sum(1).unique().tolist() == [0, 1, 2, 3]  # 30 % of 10 frames
    assert bins.any(1).sum(1).unique().tolist() == [0, 1, 2, 3]  # 25 % of 12 bins


def test_a_cloud_is_a_random_subset_in_training_and_its_first_points_in_evaluation(
    specs: dict[str, Spec],
) -> None:
    part = MeshInput(specs["mesh"])  # type: ignore[arg-type]
    cloud = np.repeat(np.arange(50, dtype=np.float32)[:, None], 6, 1)

    drawn = part.collate([cloud] * 100, torch.arange(100)).values[..., 0]
    first = part.collate([cloud], None).values[0, :, 0]

    assert all(len(row.unique()) == 20 for row in drawn)
    assert torch.bincount(drawn.long().flatten()).min() > 15
    assert first.tolist() == list(range(20))


@pytest.mark.parametrize("up", ["x", "y", "z"])
def test_turning_keeps_height_and_distances_and_turns_normals_along(up: str, specs: dict[str, Spec]) -> None:
    part, seeds = MeshInput(specs["mesh"]), torch.arange(30)  # type: ignore[arg-type]
    axis = "xyz".index(up)
    points = torch.nn.functional.normalize(torch.randn(30, 20, 3), dim=-1)
    raw = Raw(torch.cat([points, points], -1))

    turned = part.augment(raw, seeds, TrainSettings(mesh=MeshAugmentation(turn=180.0, up=up))).values  # type: ignore[arg-type]
    tilted = part.augment(raw, seeds, TrainSettings(mesh=MeshAugmentation(tilt=25.0, up=up))).values  # type: ignore[arg-type]

    torch.testing.assert_close(turned[..., axis], points[..., axis])
    assert (turned[..., :3] - points).norm(dim=-1).amax(1).median() > 0.5
    upright = torch.eye(3)[axis].expand(30, 1, 3)
    leaning = part.augment(
        Raw(torch.cat([upright, upright], -1)),
        seeds,
        TrainSettings(mesh=MeshAugmentation(tilt=25.0, up=up)),  # type: ignore[arg-type]
    ).values[:, 0, axis]
    assert leaning.min() >= np.cos(np.radians(25)) - 1e-5
    assert leaning.min() < np.cos(np.radians(20))
    for moved in (turned, tilted):
        torch.testing.assert_close(moved[..., :3], moved[..., 3:])
        torch.testing.assert_close(
            torch.cdist(moved[..., :3], moved[..., :3]), torch.cdist(points, points), atol=2e-3, rtol=0
        )


def test_quarter_turns_and_mirrors_reach_each_of_their_poses_equally(specs: dict[str, Spec]) -> None:
    part, seeds = MeshInput(specs["mesh"]), torch.arange(800)  # type: ignore[arg-type]
    corner = torch.tensor([1.0, 2.0, 3.0]).expand(800, 1, 3)
    raw = Raw(torch.cat([corner, corner], -1))

    def poses(**chosen: Any) -> dict[tuple[float, ...], int]:
        moved = part.augment(raw, seeds, TrainSettings(mesh=MeshAugmentation(up="z", **chosen))).values
        assert torch.equal(moved[..., :3], moved[..., 3:])
        found, counts = moved[:, 0, :3].round().unique(dim=0, return_counts=True)
        return {tuple(pose): count for pose, count in zip(found.tolist(), counts.tolist(), strict=True)}

    quarters, mirrors = poses(quarters=True), poses(mirror=0.5)

    assert set(quarters) == {(1, 2, 3), (-2, 1, 3), (-1, -2, 3), (2, -1, 3)}
    assert set(mirrors) == {(1, 2, 3), (-1, 2, 3), (1, -2, 3), (-1, -2, 3)}
    assert min(*quarters.values(), *mirrors.values()) > 150


def test_scaling_an_axis_keeps_normals_upright_on_their_surface(specs: dict[str, Spec]) -> None:
    part, seeds = MeshInput(specs["mesh"]), torch.arange(50)  # type: ignore[arg-type]
    normal = torch.nn.functional.normalize(torch.tensor([1.0, 1.0, 1.0]), dim=0)
    flat = torch.tensor(
        [[1.0, -1.0, 0.0], [0.0, 1.0, -1.0], [2.0, -1.0, -1.0]]
    )  # in the plane of that normal
    raw = Raw(torch.cat([flat, normal.expand(3, 3)], -1).expand(50, 3, 6))

    scaled = part.augment(raw, seeds, TrainSettings(mesh=MeshAugmentation(scale=0.4))).values

    points, normals = scaled[..., :3], scaled[..., 3:]
    assert (points * normals).sum(-1).abs().max() < 1e-5
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(50, 3))
    assert (points / flat)[:, 0, 0].std() > 0.1


@pytest.mark.parametrize("name", NAMES)
def test_an_array_of_another_shape_is_refused_with_both_shapes(
    name: str, specs: dict[str, Spec], samples: Samples
) -> None:
    right = samples[0][name]

    with pytest.raises(ValueError, match=r"1 of the batch has shape .* the model was built for"):
        made(name, specs).collate([right, right[..., :1].repeat(2, -1)], None)


def test_a_cloud_with_too_few_points_is_refused_with_the_cure(specs: dict[str, Spec]) -> None:
    with pytest.raises(ValueError, match=r"7 points stored, the model sees 20: lower data.mesh.points"):
        made("mesh", specs).collate([np.zeros((7, 6), np.float16)], None)


def test_an_unknown_modality_and_a_foreign_spec_are_refused(specs: dict[str, Spec]) -> None:
    with pytest.raises(ValueError, match="no modality 'smell': there are image, audio, mesh, video"):
        build_input("smell", specs["mesh"])
    with pytest.raises(ValueError, match="image needs ImageSpec, not MeshSpec"):
        build_input("image", specs["mesh"])
    assert set(INPUTS) == {"image", "audio", "mesh", "video"}


def test_a_spec_that_leaves_a_remainder_is_refused_with_a_cure(specs: dict[str, Spec]) -> None:
    change = {
        "image": ({"patch": 3}, "does not divide the image of 8 x 6"),
        "video": ({"block": 3}, "3 frames would fit"),
        "wave": ({"patch": 300}, "seconds = 0.075 would fit"),
        "mel": ({"bins": 5}, "does not divide the 12 mel bins"),
        "mesh": ({"channels": 4}, "3 channels"),
    }
    for name, (values, complaint) in change.items():
        with pytest.raises(ValueError, match=complaint):
            type(specs[name])(**{**vars(specs[name]), **values})


def test_a_float16_cloud_is_read_to_its_last_digit(specs: dict[str, Spec]) -> None:
    spec: MeshSpec = specs["mesh"]  # type: ignore[assignment]
    cloud = np.linspace(-1, 1, 300).reshape(50, 6).astype(np.float16)

    values = MeshInput(spec)(MeshInput(spec).collate([cloud], None)).values[0]

    assert torch.equal(values[:, 0], torch.from_numpy(cloud[:20, 0]).float())
    normal = torch.from_numpy(cloud[:20, 3:]).float()
    assert torch.equal(values[:, -6:-3], normal.square())


def test_the_sign_of_a_normal_is_never_seen(specs: dict[str, Spec]) -> None:
    part = MeshInput(specs["mesh"])  # type: ignore[arg-type]
    cloud = torch.randn(2, 20, 6)
    turned_over = torch.cat([cloud[..., :3], -cloud[..., 3:]], -1)
    other = torch.cat([cloud[..., :3], cloud[..., 3:].roll(1, -1)], -1)

    seen = part(Raw(cloud)).values

    assert torch.equal(part(Raw(turned_over)).values, seen)
    assert not torch.equal(part(Raw(other)).values, seen)
