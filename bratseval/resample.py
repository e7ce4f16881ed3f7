"""Nearest-neighbor resampling of a label image onto another grid."""

from __future__ import annotations

from itertools import product

import numpy as np

from bratseval.images import LabelImage
from bratseval.nifti import Grid


def resample_nearest(image: LabelImage, grid: Grid) -> LabelImage:
    """Give every voxel of ``grid`` the label of the image voxel that its center falls into.

    Centers that fall outside the image are background. Only the part of the grid that the
    non-background box of the image can reach is looked at.
    """
    nothing = LabelImage(
        grid, (0, 0, 0), np.zeros((0, 0, 0), np.uint8, order="F"), image.unknown, image.notes
    )
    if not image.labels.size:
        return nothing
    to_image = np.linalg.inv(image.grid.affine) @ grid.affine
    low, high = np.array(image.offset) - 0.5, np.array(image.offset) + image.labels.shape - 0.5
    corners = np.array([[*corner, 1.0] for corner in product(*zip(low, high, strict=True))])
    reached = (np.linalg.inv(to_image) @ corners.T)[:3]
    start = np.maximum(np.floor(reached.min(axis=1)).astype(int), 0)
    stop = np.minimum(np.ceil(reached.max(axis=1)).astype(int) + 1, grid.shape)
    if (start >= stop).any():
        return nothing
    labels = np.zeros(stop - start, np.uint8, order="F")
    for z in range(start[2], stop[2]):
        x, y = np.meshgrid(np.arange(start[0], stop[0]), np.arange(start[1], stop[1]), indexing="ij")
        centers = np.stack([x, y, np.full(x.shape, z), np.ones(x.shape)]).reshape(4, -1)
        source = np.floor((to_image @ centers)[:3] + 0.5).astype(int) - np.array(image.offset)[:, None]
        inside = np.all((source >= 0) & (source < np.array(image.labels.shape)[:, None]), axis=0)
        plane = np.zeros(x.size, np.uint8)
        plane[inside] = image.labels[tuple(source[:, inside])]
        labels[:, :, z - start[2]] = plane.reshape(x.shape)
    return LabelImage(grid, (int(start[0]), int(start[1]), int(start[2])), labels, image.unknown, image.notes)
