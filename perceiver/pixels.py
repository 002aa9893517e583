"""Random changes of pictures, one draw per sample and the same for all its frames.

Shapes: B samples, F frames (1 for an image), H rows, W columns.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from perceiver.draws import between, integers, uniforms
from perceiver.rand_augment import rand_augmented
from perceiver.train_settings import PixelAugmentation

Seeds = Int64[Tensor, " B"]
Pixels = Shaped[Tensor, "B F H W 3"]
ASPECT = 4 / 3  # Inception crop: sides between 3:4 and 4:3
TRIES = 10  # as the reference implementations


def augmented(pixels: Pixels, seeds: Seeds, settings: PixelAugmentation) -> Pixels:
    """Crop, move, mirror, RandAugment, colour and erase, as far as each is switched on."""
    if settings.area < 1:
        pixels = cropped(pixels, seeds, settings.area)
    if settings.shift or settings.flip:
        pixels = moved(pixels, seeds, settings.shift, settings.flip)
    if settings.operations:
        pixels = rand_augmented(pixels, seeds, settings.operations, settings.magnitude)
    if settings.brightness or settings.contrast or settings.saturation:
        pixels = coloured(pixels, seeds, settings)
    if settings.erase:
        pixels = erased(pixels, seeds, settings.erase)
    return pixels


def cropped(pixels: Pixels, seeds: Seeds, area: float) -> Pixels:
    """A random part of the picture, scaled back to its size: it only grows, so nothing aliases."""
    sides = crop_sides(seeds, area, pixels.shape[2] / pixels.shape[3])
    centres = (1 - sides) * between(seeds, "crop place", -1.0, 1.0, 2)
    affine = torch.cat([torch.diag_embed(sides), centres[:, :, None]], 2)
    batch, frames, rows, columns, _ = pixels.shape
    planes = pixels.permute(0, 1, 4, 2, 3).flatten(1, 2).to(torch.float32)
    where = F.affine_grid(affine, [batch, frames * 3, rows, columns], align_corners=False)
    planes = F.grid_sample(planes, where, mode="bilinear", padding_mode="reflection", align_corners=False)
    return planes.unflatten(1, (frames, 3)).permute(0, 1, 3, 4, 2)


def crop_sides(seeds: Seeds, area: float, tall: float) -> Float[Tensor, "B 2"]:
    """Width and height of Inception's crop in parts of a picture whose height is `tall` widths.

    Of the area at least `area`, width to height from 3:4 to 4:3: the first of ten draws that fits into the
    picture, else the largest of such a shape that does.
    """
    share = between(seeds, "crop area", area, 1.0, TRIES)
    aspect = between(seeds, "crop aspect", -math.log(ASPECT), math.log(ASPECT), TRIES).exp()
    drawn = torch.stack([(share * aspect * tall).sqrt(), (share / aspect / tall).sqrt()], 2)
    fits = (drawn <= 1).all(2)
    # Counted, as argmax may give any of several ones on a GPU.
    place = (fits.cumsum(1) == 0).sum(1).clamp(max=TRIES - 1)
    first = drawn[torch.arange(len(seeds), device=seeds.device), place]
    whole = torch.tensor([min(1.0, ASPECT * tall), min(1.0, ASPECT / tall)], device=seeds.device)
    return torch.where(fits.any(1, keepdim=True), first, whole)


def _mirrored(places: Int64[Tensor, "B L"], size: int) -> Int64[Tensor, "B L"]:
    return (size - 1) - ((size - 1) - places.abs()).abs()


def moved(pixels: Pixels, seeds: Seeds, shift: int, flip: float) -> Pixels:
    """The picture moved by up to `shift` pixels and, for a share of the samples, mirrored."""
    batch, _, rows, columns, _ = pixels.shape
    limits = torch.full_like(seeds, 2 * shift + 1)
    down = integers(seeds, "shift down", limits)[:, None] - shift
    right = integers(seeds, "shift right", limits)[:, None] - shift
    row = _mirrored(torch.arange(rows, device=seeds.device) + down, rows)
    column = _mirrored(torch.arange(columns, device=seeds.device) + right, columns)
    column = torch.where(uniforms(seeds, "flip", 1) < flip, columns - 1 - column, column)
    sample = torch.arange(batch, device=seeds.device)[:, None, None]
    return pixels.transpose(1, 3)[sample, column[:, :, None], row[:, None, :]].transpose(1, 3)


def coloured(pixels: Pixels, seeds: Seeds, settings: PixelAugmentation) -> Float[Tensor, "B F H W 3"]:
    """Brightness, contrast around the picture's mean, saturation around each pixel's grey."""
    x = pixels.to(torch.float32)
    limits = (settings.brightness, settings.contrast, settings.saturation)
    brightness, contrast, saturation = (
        between(seeds, f"colour {place}", 1 - limit, 1 + limit).view(-1, 1, 1, 1, 1)
        for place, limit in enumerate(limits)
    )
    x = x * brightness
    x = torch.lerp(x.mean((1, 2, 3, 4), keepdim=True), x, contrast)
    x = torch.lerp(x.mean(-1, keepdim=True), x, saturation)
    return x.clamp(0, 255)


def erased(pixels: Pixels, seeds: Seeds, share: float) -> Pixels:
    """A rectangle of 2 to 33 % of the area takes the picture's mean, in a share of the samples."""
    _, _, rows, columns, _ = pixels.shape
    area = between(seeds, "erase area", 0.02, 1 / 3)
    aspect = between(seeds, "erase aspect", math.log(0.3), -math.log(0.3)).exp()
    chosen = uniforms(seeds, "erase", 1) < share
    inside = (
        _stretch(seeds, "erase rows", rows, (area * aspect).sqrt())[:, :, None]
        & _stretch(seeds, "erase columns", columns, (area / aspect).sqrt())[:, None, :]
        & chosen[:, :, None]
    )
    mean = pixels.to(torch.float32).mean((1, 2, 3), keepdim=True).to(pixels.dtype)
    return torch.where(inside[:, None, :, :, None], mean, pixels)


def _stretch(seeds: Seeds, purpose: str, size: int, share: Float[Tensor, "B 1"]) -> Shaped[Tensor, "B L"]:
    width = (share * size).round().clamp(1, size)
    start = (uniforms(seeds, purpose, 1) * (size - width + 1)).floor()
    place = torch.arange(size, device=seeds.device)
    return (place >= start) & (place < start + width)
