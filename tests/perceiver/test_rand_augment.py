"""RandAugment: each operation against Pillow's, and who draws what."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageEnhance, ImageOps
from PIL.Image import Resampling, Transform
from torch import Tensor

from perceiver.pixels import augmented
from perceiver.rand_augment import OPERATIONS, operated, rand_augmented
from perceiver.train_settings import PixelAugmentation

HEIGHT, WIDTH = 24, 31
GREY = (128, 128, 128)


def pictures() -> list[Image.Image]:
    """Smooth ones with an edge, one of few and dim colours, one of a single colour, and noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    smooth = np.stack([4 * rows + 40, 5 * columns + 30, 3 * (rows + columns) + 20], 2)
    found = [Image.fromarray(smooth.astype(np.uint8))]
    ImageDraw.Draw(found[0]).rectangle((5, 6, 14, 13), fill=(250, 20, 90))
    found.append(Image.fromarray(random.integers(90, 110, (HEIGHT, WIDTH, 3), dtype=np.uint8)))
    found.append(Image.new("RGB", (WIDTH, HEIGHT), (200, 40, 7)))
    found.append(Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)))
    return found


def affine(*numbers: float) -> Callable[[Image.Image], Image.Image]:
    return lambda picture: picture.transform(
        picture.size, Transform.AFFINE, numbers, resample=Resampling.BILINEAR, fillcolor=GREY
    )


def pillow(name: str, strength: float) -> Callable[[Image.Image], Image.Image]:
    """What Pillow calls it."""
    enhance, right, down = 1 + 0.9 * strength, 0.45 * WIDTH * strength, 0.45 * HEIGHT * strength
    return {
        "identity": lambda picture: picture,
        "autocontrast": ImageOps.autocontrast,
        "equalize": ImageOps.equalize,
        "rotate": lambda picture: picture.rotate(30 * strength, resample=Resampling.BILINEAR, fillcolor=GREY),
        "solarize": lambda picture: ImageOps.solarize(picture, math.ceil(256 * (1 - abs(strength)))),
        "color": lambda picture: ImageEnhance.Color(picture).enhance(enhance),
        "posterize": lambda picture: ImageOps.posterize(picture, 8 - round(4 * abs(strength))),
        "contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(enhance),
        "brightness": lambda picture: ImageEnhance.Brightness(picture).enhance(enhance),
        "sharpness": lambda picture: ImageEnhance.Sharpness(picture).enhance(enhance),
        "shear x": affine(1, 0.3 * strength, 0, 0, 1, 0),
        "shear y": affine(1, 0, 0, 0.3 * strength, 1, 0),
        "translate x": affine(1, 0, right, 0, 1, 0),
        "translate y": affine(1, 0, 0, 0, 1, down),
    }[name]


def as_planes(found: list[Image.Image]) -> Tensor:
    stacked = torch.from_numpy(np.stack([np.asarray(picture) for picture in found]))
    return stacked.permute(0, 3, 1, 2)[:, :, None].float()


def inside(name: str, strength: float) -> Tensor:
    """[H, W]: not at the edge, where Pillow repeats the last pixel and we mix it with what lies outside."""
    white = Image.new("RGB", (WIDTH, HEIGHT), (255, 255, 255))
    edge = as_planes([pillow(name, strength)(white)])[0, 0, 0]
    framed = torch.nn.functional.pad(edge[None], (1, 1, 1, 1))
    return -torch.nn.functional.max_pool2d(-framed, 3, stride=1)[0] == 255


@pytest.mark.parametrize("strength", [-1.0, -0.5, 0.1, 0.9])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_pillows(name: str, strength: float) -> None:
    found = pictures()
    chosen = torch.full((len(found),), OPERATIONS.index(name))

    ours = operated(as_planes(found), chosen, torch.full((len(found),), strength))

    theirs = as_planes([pillow(name, strength)(picture) for picture in found])
    apart = (ours - theirs).abs()
    if name in GEOMETRIC:
        apart = apart[..., inside(name, strength)]
        assert apart.shape[-1] > 0.3 * HEIGHT * WIDTH
    assert apart.max() <= TOLERANCE.get(name, 1)


GEOMETRIC = ("rotate", "shear x", "shear y", "translate x", "translate y")
TOLERANCE = {"identity": 0, "equalize": 0, "posterize": 0, "solarize": 0, **dict.fromkeys(GEOMETRIC, 2)}
"""Of 255: Pillow cuts where we round; where it interpolates it does so in fixed point."""


def test_what_comes_in_from_outside_is_grey() -> None:
    planes = torch.zeros(1, 3, 1, 20, 20)

    moved = operated(planes, torch.tensor([OPERATIONS.index("translate x")]), torch.tensor([1.0]))

    assert (moved[..., :11] == 0).all()
    assert (moved[..., 11:] == 128).all()


def test_each_sample_gets_its_own_operation_whatever_its_neighbours_get() -> None:
    planes = as_planes([pictures()[0]] * len(OPERATIONS))
    chosen, strength = torch.arange(len(OPERATIONS)), torch.full((len(OPERATIONS),), 0.7)

    together = operated(planes, chosen, strength)

    alone = torch.cat([operated(planes[:1], chosen[i : i + 1], strength[:1]) for i in chosen])
    assert torch.equal(together, alone)
    assert len({one.numpy().tobytes() for one in together}) == len(OPERATIONS)


@pytest.mark.parametrize("operations", [1, 2, 3])
def test_values_stay_whole_numbers_from_0_to_255(operations: int) -> None:
    pixels = torch.randint(0, 256, (60, 2, 9, 7, 3), dtype=torch.uint8)

    changed = rand_augmented(pixels, torch.arange(60) * 31, operations, 10.0)

    assert changed.min() >= 0
    assert changed.max() <= 255
    assert torch.equal(changed, changed.round())


def test_all_operations_are_drawn_about_equally_often_in_every_turn() -> None:
    """Told apart by what they make of one picture."""
    picture = as_planes(pictures()[:1]).permute(0, 2, 3, 4, 1)
    seeds = torch.arange(2800) * 7919
    many = picture.expand(len(seeds), -1, -1, -1, -1)

    changed = rand_augmented(many, seeds, 1, 7.0)

    kinds: dict[bytes, int] = {}
    for one in changed:
        kinds[one.numpy().tobytes()] = kinds.get(one.numpy().tobytes(), 0) + 1
    known = {
        (name, sign): operated(
            as_planes([pictures()[0]]), torch.tensor([place]), torch.tensor([sign * 0.7])
        ).permute(0, 2, 3, 4, 1)[0].contiguous().numpy().tobytes()
        for place, name in enumerate(OPERATIONS)
        for sign in (1, -1)
    }  # fmt: skip
    counts = {name: sum(kinds[made] for made in {known[name, 1], known[name, -1]}) for name in OPERATIONS}
    assert sum(counts.values()) == len(seeds)
    assert min(counts.values()) > 140
    assert max(counts.values()) < 260
    assert 60 < kinds[known["rotate", 1]] < 140


def test_magnitude_0_leaves_all_but_autocontrast_and_equalize_as_it_is() -> None:
    planes = as_planes(pictures()[:1] * len(OPERATIONS))

    changed = operated(planes, torch.arange(len(OPERATIONS)), torch.zeros(len(OPERATIONS)))

    still = (changed == planes).all((1, 2, 3, 4))
    assert [name for name, same in zip(OPERATIONS, still, strict=True) if not same] == [
        "autocontrast", "equalize",
    ]  # fmt: skip


def test_two_operations_are_two_draws() -> None:
    pixels = torch.randint(0, 256, (200, 1, 9, 7, 3), dtype=torch.uint8)
    seeds = torch.arange(200)

    once, twice = (rand_augmented(pixels, seeds, turns, 9.0) for turns in (1, 2))
    again = rand_augmented(once, seeds, 1, 9.0)

    assert not torch.equal(twice, again)
    assert (once != twice).any((1, 2, 3, 4)).float().mean() > 0.8


def test_the_settings_switch_it_on() -> None:
    pixels, seeds = torch.randint(0, 256, (8, 1, 9, 7, 3), dtype=torch.uint8), torch.arange(8)

    changed = augmented(pixels, seeds, PixelAugmentation(operations=2, magnitude=7.0))

    assert torch.equal(changed, rand_augmented(pixels, seeds, 2, 7.0))


def test_pictures_smaller_than_three_pixels_are_no_trouble() -> None:
    pixels = torch.randint(0, 256, (60, 1, 2, 1, 3), dtype=torch.uint8)

    assert rand_augmented(pixels, torch.arange(60), 2, 9.0).isfinite().all()
