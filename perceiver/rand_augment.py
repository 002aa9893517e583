"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719): operations drawn anew for each sample, of one magnitude.

All samples pass through the same few kernels, each with its own numbers, so that nothing waits for the device
to say who drew what. A clip's histogram is that of all its frames, which change alike.

Shapes: B samples, F frames (1 for an image), H rows, W columns; planes [B, 3, F, H, W] hold 0 to 255.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, Shaped
from torch import Tensor

from perceiver.draws import integers, uniforms

Seeds = Int64[Tensor, " B"]
Planes = Float[Tensor, "B 3 F H W"]
Each = Float[Tensor, " B"]
Tables = Float[Tensor, "B 3 256"]
"""What each value of each channel becomes."""

OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "color", "posterize", "contrast",
    "brightness", "sharpness", "shear x", "shear y", "translate x", "translate y",
)  # fmt: skip
DEGREES, SHEAR, TRANSLATE, ENHANCE, BITS = 30.0, 0.3, 0.45, 0.9, 4
"""At magnitude 10: rotation; shear; share of the side; change of a factor from 1; bits lost by posterize."""
FILL = 128.0
"""What comes in from outside of the picture."""
GREY = (0.299, 0.587, 0.114)


def rand_augmented(
    pixels: Shaped[Tensor, "B F H W 3"], seeds: Seeds, operations: int, magnitude: float
) -> Float[Tensor, "B F H W 3"]:
    """So many operations one after the other, each as strong as `magnitude` of 10, half of them reversed."""
    planes = pixels.permute(0, 4, 1, 2, 3).to(torch.float32)
    for turn in range(operations):
        chosen = integers(seeds, f"operation {turn}", torch.full_like(seeds, len(OPERATIONS)))
        reversed_ = uniforms(seeds, f"operation sign {turn}", 1)[:, 0] < 0.5
        planes = operated(planes, chosen, torch.where(reversed_, -magnitude / 10, magnitude / 10))
    return planes.permute(0, 2, 3, 4, 1)


def operated(planes: Planes, chosen: Int64[Tensor, " B"], strength: Each) -> Planes:
    """One operation a sample, by its place in OPERATIONS; strength from -1 to 1, rounded to whole values."""
    where = {name: chosen == place for place, name in enumerate(OPERATIONS)}
    planes = _resampled(planes, where, strength).round()
    planes = torch.where(_wide(where["color"]), _mixed(_grey(planes), planes, strength), planes)
    planes = torch.where(_wide(where["sharpness"]), _mixed(_smooth(planes), planes, strength), planes)
    return _looked_up(planes, where, strength)


def _wide(each: Shaped[Tensor, " B"]) -> Shaped[Tensor, "B 1 1 1 1"]:
    return each[:, None, None, None, None]


def _mixed(plain: Float[Tensor, "B _ F H W"], planes: Planes, strength: Each) -> Planes:
    """Away from `plain` or towards it, by as much of the difference as the strength says."""
    factor = _wide(1 + ENHANCE * strength)
    return (plain + (planes - plain) * factor).clamp(0, 255).round()


def _grey(planes: Planes) -> Float[Tensor, "B 1 F H W"]:
    weights = torch.tensor(GREY, device=planes.device)[:, None, None, None]
    return (planes * weights).sum(1, keepdim=True).round()


def _smooth(planes: Planes) -> Planes:
    """Each pixel with its neighbours, 5 to 1; what has no neighbours on a side stays."""
    if min(planes.shape[-2:]) < 3:
        return planes
    inner = F.avg_pool2d(planes.flatten(1, 2), 3, stride=1).unflatten(1, planes.shape[1:3])
    middle = planes[..., 1:-1, 1:-1]
    smooth = planes.clone()
    smooth[..., 1:-1, 1:-1] = ((inner * 9 + middle * 4) / 13).round()
    return smooth


def _resampled(planes: Planes, where: dict[str, Bool[Tensor, " B"]], strength: Each) -> Planes:
    """Rotated about the middle, sheared from the upper left corner, or moved; others as they are."""
    height, width = planes.shape[-2:]

    def of(name: str, most: float) -> Each:
        return torch.where(where[name], most * strength, 0.0)

    angle = of("rotate", math.radians(DEGREES))
    cos, sin = angle.cos(), angle.sin()
    right, down = of("shear x", SHEAR), of("shear y", SHEAR)  # of the other axis' pixels
    # In normalized coordinates, -1 to 1 along both sides, about the middle.
    matrix = torch.stack(
        [
            torch.stack([cos, (right - sin) * height / width, of("translate x", 2 * TRANSLATE)], 1),
            torch.stack([(down + sin) * width / height, cos, of("translate y", 2 * TRANSLATE)], 1),
        ],
        1,
    )
    matrix[:, 0, 2] += right * height / width
    matrix[:, 1, 2] += down * width / height
    flat = planes.flatten(1, 2)
    places = F.affine_grid(matrix, list(flat.shape), align_corners=False)
    moved = F.grid_sample(flat - FILL, places, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (moved + FILL).unflatten(1, planes.shape[1:3])


def _looked_up(planes: Planes, where: dict[str, Bool[Tensor, " B"]], strength: Each) -> Planes:
    """Operations that give every value of a channel another one."""
    values = planes.flatten(2).long()
    counts = torch.zeros(*values.shape[:2], 256, dtype=torch.int64, device=planes.device)
    counts.scatter_add_(2, values, torch.ones(1, dtype=torch.int64, device=planes.device).expand_as(values))
    straight = torch.arange(256.0, device=planes.device).expand_as(counts)
    factor = (1 + ENHANCE * strength)[:, None, None]
    tables = straight
    for name, made in (
        ("autocontrast", _autocontrast(counts, straight)),
        ("equalize", _equalize(counts, straight)),
        (
            "solarize",
            torch.where(straight < 256 * (1 - strength.abs())[:, None, None], straight, 255 - straight),
        ),
        ("posterize", _posterize(straight, strength)),
        ("contrast", _away(straight, _mean_grey(counts), factor)),
        ("brightness", _away(straight, torch.zeros_like(factor), factor)),
    ):
        tables = torch.where(where[name][:, None, None], made, tables)
    return tables.gather(2, values).unflatten(2, planes.shape[2:])


def _away(straight: Tables, plain: Float[Tensor, "B 1 1"], factor: Float[Tensor, "B 1 1"]) -> Tables:
    return (plain + (straight - plain) * factor).clamp(0, 255).round()


def _mean_grey(counts: Int64[Tensor, "B 3 256"]) -> Float[Tensor, "B 1 1"]:
    values = torch.arange(256, device=counts.device)
    means = (counts * values).sum(2) / counts.sum(2)
    return (means * torch.tensor(GREY, device=counts.device)).sum(1).round()[:, None, None]


def _posterize(straight: Tables, strength: Each) -> Tables:
    steps = 2 ** (BITS * strength.abs()).round()[:, None, None]
    return (straight / steps).floor() * steps


def _autocontrast(counts: Int64[Tensor, "B 3 256"], straight: Tables) -> Tables:
    """The darkest value of a channel becomes 0, the lightest 255."""
    there = counts > 0
    low = torch.where(there, straight, 255).amin(2, keepdim=True)
    high = torch.where(there, straight, 0).amax(2, keepdim=True)
    stretched = ((straight - low) * 255 / (high - low).clamp(min=1)).floor().clamp(0, 255)
    return torch.where(high > low, stretched, straight)


def _equalize(counts: Int64[Tensor, "B 3 256"], straight: Tables) -> Tables:
    """As many pixels below a value as the value says, as Pillow counts."""
    places = torch.arange(256, device=counts.device)
    last = torch.where(counts > 0, places, 0).amax(2, keepdim=True)
    step = (counts.sum(2, keepdim=True) - counts.gather(2, last)) // 255
    below = counts.cumsum(2) - counts
    flat = ((step // 2 + below) // step.clamp(min=1)).clamp(max=255).to(torch.float32)
    return torch.where(step > 0, flat, straight)
