"""Displacement fields: Jacobian determinants, and where a field moves points.

A field gives every voxel of a grid a vector. World coordinates are ITK's (LPS: x to the left, y to the
back) or NIfTI's (RAS); a NIfTI header holds a RAS affine, and ITK flips its first two axes on reading.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

World = Literal["lps", "ras"]
PLANES = 2  # whose determinants are computed at a time, so that memory stays near that of the field
FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS


def in_world(affine: np.ndarray, world: World) -> np.ndarray:
    """The (4, 4) affine from voxel indices to the named world, of a header's RAS affine, mm."""
    return FLIP @ affine if world == "lps" else affine


def to_world(
    field: np.ndarray, affine: np.ndarray, *, components: World, unit: Literal["mm", "voxels"], world: World
) -> np.ndarray:
    """Vectors in mm along the axes of ``world``.

    field : (x, y, z, 3); components: the world axes of its vectors where the unit is mm. In voxels they
    are steps along the image's axes and turn with the affine (RAS, from the header).
    """
    if unit == "voxels":
        return field @ in_world(affine, world)[:3, :3].T
    return field if components == world else field * np.array([-1, -1, 1], field.dtype)


def jacobian_determinant(field: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Determinant of the map x -> x + u(x) in every voxel, (x, y, z) float64.

    field : (x, y, z, 3), mm along the axes of the world that ``affine`` (4, 4) maps voxel indices to.
    det(I + du/dx) with central differences; at the border the outside repeats the last voxel (zero flux),
    so the difference there is half of the one-sided one, as in ITK's
    DisplacementFieldJacobianDeterminantFilter. An axis of one voxel has no difference.
    """
    to_index = np.linalg.inv(affine[:3, :3])
    determinants = np.empty(field.shape[:3], order="F")
    for start in range(0, field.shape[2], PLANES):
        stop = min(start + PLANES, field.shape[2])
        low = max(start - 1, 0)
        slab = field[:, :, low : stop + 1].astype(np.float64)
        inner = slice(start - low, stop - low)
        slopes = [[_difference(slab[..., c], axis)[:, :, inner] for axis in range(3)] for c in range(3)]
        # The chain rule: d u_c / d x_k is the sum over axes of (d u_c / d index) (d index / d x_k).
        (a, b, c), (d, e, f), (g, h, i) = (
            [
                float(row == k)
                + sum(slopes[row][axis] * to_index[axis, k] for axis in np.flatnonzero(to_index[:, k]))
                for k in range(3)
            ]
            for row in range(3)
        )
        determinants[:, :, start:stop] = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    return determinants


def _difference(values: np.ndarray, axis: int) -> np.ndarray:
    """Half the difference of the two neighbors along an axis; the border is its own outer neighbor."""
    size = values.shape[axis]
    at = np.arange(size)
    ahead = np.take(values, np.minimum(at + 1, size - 1), axis=axis)
    return (ahead - np.take(values, np.maximum(at - 1, 0), axis=axis)) / 2


def displacement_at(field: np.ndarray, affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Vectors of a field at points by trilinear interpolation, (n, 3); nan outside the voxel centers.

    field : (x, y, z, 3). affine : voxel indices to the world of the points, which are (n, 3) in mm.
    """
    homogeneous = np.column_stack([points, np.ones(len(points))])
    index = (homogeneous @ np.linalg.inv(affine).T)[:, :3]
    last = np.array(field.shape[:3]) - 1
    inside = ((index >= -1e-6) & (index <= last + 1e-6)).all(axis=1)
    index = np.clip(index[inside], 0, last)
    low = np.minimum(index.astype(int), np.maximum(last - 1, 0))
    share = index - low
    moved = np.zeros((len(index), 3))
    for corner in np.ndindex(2, 2, 2):
        at = np.minimum(low + corner, last)
        weight = np.where(corner, share, 1 - share).prod(axis=1)
        moved += weight[:, None] * field[tuple(at.T)]
    result = np.full((len(points), 3), np.nan)
    result[inside] = moved
    return result
