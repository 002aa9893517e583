"""A mesh file to float32 [P, 3] (or [P, 6] with normals): points of its surface, centred, in the unit sphere.

Points are drawn by area in P equal strata, then shuffled, so that any prefix is a uniform sample. float32,
because float16 (5e-4 near 1) turns the phase of the paper's highest band (1,120 / 2 periods) by 0.4 rad.
Meshes of the web are soups of polygons without a common orientation: a normal is turned so that it points
away from the centre, the same for either order of a face's corners.
"""

import numpy as np
from numpy.typing import NDArray

from preprocessing.decoders.mesh_files import read
from preprocessing.refusal import Refused
from preprocessing.settings import MeshSettings
from preprocessing.source import Source
from preprocessing.splitmix import permutation, uniform

# Of a mesh whose longest side is 1; rounding alone gives a line of points some 1e-16 of area.
LEAST_AREA = 1e-12

Points = NDArray[np.float64]


def decode(source: Source, settings: MeshSettings) -> NDArray[np.float32]:
    """The mesh as it is stored.

    Raises:
        Refused: it cannot be.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # What becomes infinite is refused.
        corners = triangles(*read(source.data, source.suffix, settings.max_faces))
    normals, areas = normals_and_areas(corners)
    corners, normals, areas = corners[areas > 0], normals[areas > 0], areas[areas > 0]
    centre = np.average(corners.mean(axis=1), axis=0, weights=areas)
    corners = corners - centre
    corners /= np.linalg.norm(corners, axis=-1).max()
    faces, points = sampled(corners, areas, settings.stored, source.seed)
    if not settings.normals:
        return points.astype(np.float32)
    outward = np.where((normals[faces] * points).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return np.concatenate([points, normals[faces] * outward], axis=1).astype(np.float32)


def triangles(vertices: Points, faces: NDArray[np.int64]) -> Points:
    """Corners [F, 3, 3] of the faces, scaled to a longest side of 1 so that no area overflows."""
    if not len(vertices) or not len(faces):
        raise Refused("no_content", f"{len(vertices)} vertices and {len(faces)} faces")
    bad = int(((faces < 0) | (faces >= len(vertices))).any(axis=1).sum())
    if bad:
        raise Refused("bad_index", f"{bad} faces refer to a vertex that is none of the {len(vertices)}")
    if not np.isfinite(vertices).all():
        bad = int((~np.isfinite(vertices)).any(axis=1).sum())
        raise Refused("non_finite", f"{bad} vertices are NaN or infinite")
    corners = vertices[faces]
    low = corners.min(axis=(0, 1))
    longest = float((corners.max(axis=(0, 1)) - low).max())
    if not 0 < longest < np.inf:
        raise Refused("degenerate", f"its longest side is {longest:g}")
    return (corners - low) / longest


def normals_and_areas(corners: Points) -> tuple[Points, Points]:
    """Unit normals [F, 3], zero where a face has no area, and areas [F]."""
    crosses = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    lengths = np.linalg.norm(crosses, axis=1)
    if lengths.sum() / 2 <= LEAST_AREA:
        raise Refused("degenerate", f"none of its {len(corners)} faces has an area")
    return crosses / np.where(lengths > 0, lengths, 1)[:, None], lengths / 2


def sampled(corners: Points, areas: Points, count: int, seed: int) -> tuple[NDArray[np.int64], Points]:
    """Faces [P] and points [P, 3], one from each of `count` equal shares of the area, in random order."""
    ends = np.cumsum(areas)
    at = (np.arange(count) + uniform(count, seed, 0)) / count * ends[-1]
    faces = np.minimum(np.searchsorted(ends, at, side="right"), len(areas) - 1)
    faces = faces[permutation(count, seed, 1)]
    first, second = uniform(count, seed, 2), uniform(count, seed, 3)
    root = np.sqrt(first)
    shares = np.stack([1 - root, root * (1 - second), root * second], axis=1)
    return faces, np.einsum("pc,pcx->px", shares, corners[faces])
