"""Meshes: float16/32 [P, 3|6] points of the surface -> one position per point, features of its coordinates.

Points lie in no grid, so their features differ from sample to sample and there is no position table.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from perceiver.draws import between, integers, normals, uniforms
from perceiver.positions import features, frequencies
from perceiver.segment import Arrays, Geometry, Input, Raw, Seeds, Segment, uniform_arrays
from perceiver.settings import ModelSettings
from perceiver.train_settings import MeshAugmentation, TrainSettings

PRODUCTS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True, kw_only=True)
class MeshSpec:
    points: int
    """Points that the model sees."""
    channels: int
    """Stored: 3 coordinates; 6 with normals."""
    bands: int
    """Fourier bands per axis."""
    max_frequency: float
    """Twice the highest frequency, in periods over the unit length."""

    def __post_init__(self) -> None:
        if self.channels not in (3, 6):
            raise ValueError(f"a point has 3 channels (coordinates) or 6 (with normals), not {self.channels}")

    @classmethod
    def of(cls, model: ModelSettings, *, points: int, normals: bool) -> "MeshSpec":
        """What the model settings make of clouds of so many points."""
        bands, top = model.bands_of(model.mesh)
        return cls(points=points, channels=6 if normals else 3, bands=bands, max_frequency=top)


class MeshInput(Input):
    """The byte array of a point cloud."""

    frequencies: Tensor

    def __init__(self, spec: MeshSpec) -> None:
        super().__init__()
        self.spec = spec
        f = frequencies(spec.bands, spec.max_frequency).to(torch.float32)
        self.register_buffer("frequencies", f, persistent=False)
        channels = 3 * (1 + 2 * spec.bands) + (len(PRODUCTS) if spec.channels == 6 else 0)
        self.geometry = Geometry(spec.points, channels, channels, axes=0)

    def collate(self, arrays: Arrays, seeds: Seeds | None) -> Raw:
        """Stored points are in random order: any of them, or the first, are an even sample."""
        uniform_arrays(arrays, (-1, self.spec.channels), "mesh")
        least = min(len(array) for array in arrays)
        if least < self.spec.points:
            raise ValueError(
                f"a mesh of the batch has {least} points stored, the model sees {self.spec.points}: "
                f"lower data.mesh.points, or shard again with more stored points"
            )
        values = np.empty((len(arrays), self.spec.points, self.spec.channels), np.float32)
        for place, array in enumerate(arrays):
            seed = None if seeds is None else seeds[place : place + 1]
            values[place] = (
                array[: self.spec.points] if seed is None else array[self._chosen(seed, len(array))]
            )
        return Raw(torch.from_numpy(values))

    def _chosen(self, seed: Seeds, stored: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        order = uniforms(seed, "points", stored)[0].argsort(stable=True)
        return order[: self.spec.points].numpy()

    def augment(self, raw: Raw, seeds: Seeds, settings: TrainSettings) -> Raw:
        chosen = settings.mesh
        cloud = raw.values.to(torch.float32)
        xyz, normal = cloud[..., :3], cloud[..., 3:]
        matrix = posed(seeds, chosen).transpose(1, 2)
        xyz, normal = xyz @ matrix, normal @ matrix if normal.shape[-1] else normal
        if chosen.scale:
            factors = between(seeds, "scale", 1 - chosen.scale, 1 + chosen.scale, 3)[:, None]
            xyz = xyz * factors
            normal = F.normalize(normal / factors, dim=-1) if normal.shape[-1] else normal
        if chosen.stretch:
            factors = between(seeds, "stretch", 1 - chosen.stretch, 1 + chosen.stretch, xyz[0].numel())
            xyz = xyz * factors.view_as(xyz)
        if chosen.jitter:
            xyz = xyz + chosen.jitter * normals(seeds, "jitter", xyz[0].numel()).view_as(xyz)
        return raw._replace(values=torch.cat([xyz, normal], -1))

    def forward(self, raw: Raw) -> Segment:
        cloud = raw.values.to(torch.float32)
        position = features(cloud[..., :3], self.frequencies).flatten(2)
        return Segment(torch.cat([position, unsigned(cloud[..., 3:])], -1))


def unsigned(normal: Float[Tensor, "B M E"]) -> Float[Tensor, "B M Q"]:
    """The products of a normal's coordinates, the same for n and -n; nothing where there are no normals.

    In a polygon soup neighbouring faces are wound at random, so a normal's sign tells nothing.
    """
    if not normal.shape[-1]:
        return normal
    return torch.stack([normal[..., i] * normal[..., j] for i, j in PRODUCTS], -1)


def posed(seeds: Seeds, chosen: MeshAugmentation) -> Float[Tensor, "B 3 3"]:
    """Mirrored along the level axes, turned about the upright one, then tilted about a random level one."""
    up = "xyz".index(chosen.up)
    sides = torch.where(uniforms(seeds, "mirror", 3) < chosen.mirror, -1.0, 1.0)
    sides[:, up] = 1.0
    turn = math.radians(chosen.turn) * between(seeds, "turn", -1.0, 1.0)[:, 0]
    if chosen.quarters:
        turn = turn + math.pi / 2 * integers(seeds, "quarters", torch.full_like(seeds, 4))
    tilt = math.radians(chosen.tilt) * between(seeds, "tilt", -1.0, 1.0)[:, 0]
    towards = math.pi * between(seeds, "tilt axis", -1.0, 1.0)[:, 0]
    tilted = _about(up, towards) @ _about((up + 1) % 3, tilt) @ _about(up, -towards)
    return tilted @ _about(up, turn) @ torch.diag_embed(sides)


def _about(axis: int, angle: Float[Tensor, " B"]) -> Float[Tensor, "B 3 3"]:
    first, second = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros(len(angle), 3, 3, device=angle.device)
    matrix[:, axis, axis] = 1
    matrix[:, first, first] = matrix[:, second, second] = angle.cos()
    matrix[:, second, first], matrix[:, first, second] = angle.sin(), -angle.sin()
    return matrix
