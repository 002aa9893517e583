"""Augmentation of pictures."""

import math

import numpy as np
import pytest
import torch

from perceiver.pixels import augmented, crop_sides
from perceiver.train_settings import PixelAugmentation

EVERY = {
    "area": PixelAugmentation(area=0.3),
    "shift": PixelAugmentation(shift=2),
    "flip": PixelAugmentation(flip=0.5),
    "colour": PixelAugmentation(brightness=0.5, contrast=0.5, saturation=0.5),
    "operations": PixelAugmentation(operations=3),
    "erase": PixelAugmentation(erase=0.7),
    "all": PixelAugmentation(
        area=0.5, shift=1, flip=0.5, brightness=0.2, saturation=0.2, erase=0.5, operations=1
    ),
}


@pytest.fixture
def pixels() -> torch.Tensor:
    return torch.randint(0, 256, (16, 2, 9, 7, 3), dtype=torch.uint8)


@pytest.mark.parametrize("name", EVERY)
def test_the_same_sample_changes_the_same_way_whatever_its_place(name: str, pixels: torch.Tensor) -> None:
    seeds = torch.arange(16) * 17
    order = torch.randperm(16)

    whole = augmented(pixels, seeds, EVERY[name])
    shuffled = augmented(pixels[order], seeds[order], EVERY[name])
    alone = augmented(pixels[3:4], seeds[3:4], EVERY[name])

    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-3)
    torch.testing.assert_close(alone, whole[3:4], rtol=0, atol=1e-3)
    assert (whole.float() - pixels.float()).abs().amax((1, 2, 3, 4)).gt(0).sum() >= 4


@pytest.mark.parametrize("name", EVERY)
def test_all_frames_of_a_sample_change_alike(name: str, pixels: torch.Tensor) -> None:
    still = pixels[:, :1].expand(-1, 2, -1, -1, -1)

    changed = augmented(still, torch.arange(16), EVERY[name])

    torch.testing.assert_close(changed[:, 0], changed[:, 1], rtol=0, atol=1e-3)
    assert changed.float().min() >= 0
    assert changed.float().max() <= 255


def test_the_default_changes_nothing(pixels: torch.Tensor) -> None:
    assert augmented(pixels, torch.arange(16), PixelAugmentation()) is pixels


def test_flip_mirrors_left_to_right_and_nothing_else(pixels: torch.Tensor) -> None:
    assert torch.equal(augmented(pixels, torch.arange(16), PixelAugmentation(flip=1.0)), pixels.flip(3))


def test_shift_moves_by_at_most_its_limit_and_mirrors_the_edge(pixels: torch.Tensor) -> None:
    padded = torch.nn.functional.pad(
        pixels.float().permute(0, 1, 4, 2, 3).flatten(0, 1), (2, 2, 2, 2), mode="reflect"
    )
    padded = padded.unflatten(0, (16, 2)).permute(0, 1, 3, 4, 2).to(torch.uint8)

    moved = augmented(pixels, torch.arange(16), PixelAugmentation(shift=2))

    places = [
        [
            (y, x)
            for y in range(5)
            for x in range(5)
            if torch.equal(padded[i, :, y : y + 9, x : x + 7], moved[i])
        ]
        for i in range(16)
    ]
    assert all(places)
    assert len({place[0] for place in places}) > 6


def test_erase_covers_a_rectangle_with_the_mean_and_spares_the_rest(pixels: torch.Tensor) -> None:
    erased = augmented(pixels, torch.arange(16), PixelAugmentation(erase=1.0))

    for before, after in zip(pixels, erased, strict=True):
        mean = before.float().mean((0, 1, 2)).to(torch.uint8)
        gone = (after == mean).all(-1).all(0)
        rows, columns = gone.any(1), gone.any(0)
        assert torch.equal(after[:, ~gone], before[:, ~gone])
        assert 1 <= rows.sum() * columns.sum() <= 0.5 * 63


def test_a_crop_of_a_ramp_is_a_gentler_ramp() -> None:
    ramp = torch.arange(32.0).view(1, 1, 1, 32, 1).expand(50, 1, 32, 32, 3) * 8

    slopes = (
        augmented(ramp, torch.arange(50), PixelAugmentation(area=0.25))[:, 0, 16].diff(dim=1)[:, 8:24, 0] / 8
    )

    assert slopes.max() <= 1.001
    assert slopes.min() >= 0.5 * (3 / 4) ** 0.5 - 1e-3
    assert slopes[:, 0].std() > 0.05


def inception(random: np.random.Generator, area: float, height: int, width: int) -> tuple[float, float]:
    """Width and height in pixels, as the reference implementations draw them."""
    for _ in range(10):
        wanted = random.uniform(area, 1) * height * width
        aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
        sides = math.sqrt(wanted * aspect), math.sqrt(wanted / aspect)
        if sides[0] <= width and sides[1] <= height:
            return sides
    return min(width, height * 4 / 3), min(height, width * 4 / 3)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (20, 50), (48, 40)])
@pytest.mark.parametrize("area", [0.08, 0.7])
def test_crops_are_distributed_as_inceptions(area: float, height: int, width: int) -> None:
    random = np.random.default_rng(0)
    theirs = np.array([inception(random, area, height, width) for _ in range(20_000)])

    ours = crop_sides(torch.arange(20_000) * 7919, area, height / width).numpy() * (width, height)

    for of in (lambda s: s.prod(1) / height / width, lambda s: np.log(s[:, 0] / s[:, 1])):
        marks = np.linspace(0.02, 0.98, 13)
        np.testing.assert_allclose(np.quantile(of(ours), marks), np.quantile(of(theirs), marks), atol=0.02)


def test_a_crop_that_never_fits_is_the_largest_of_the_nearest_shape() -> None:
    sides = crop_sides(torch.arange(50), 0.99, 5.0)  # at most 0.267 of this area has a shape of 3:4

    torch.testing.assert_close(sides, torch.tensor([[1.0, 4 / 15]]).expand(50, 2))
