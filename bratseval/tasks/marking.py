"""Label images of which any positive label may count (QU-BraTS, BraSyn): voxels and the masks of regions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from bratseval.challenge import Challenge
from bratseval.images import LabelImage, read_labels, remap_labels
from bratseval.nifti import Grid

POSITIVE = range(1, 256)  # labels that `any` stands for; larger ones are read as the last


def read_any_labels(
    path: Path, challenge: Challenge, judge: Callable[[Grid], None] | None = None
) -> LabelImage:
    """Read all positive labels, the challenge's or not. Raises InputError."""
    image = read_labels(path, POSITIVE, "background", above=POSITIVE[-1], judge=judge)
    return remap_labels(image, challenge.remap)


def whole_grid(image: LabelImage) -> np.ndarray:
    """Labels of every voxel of the grid, (x, y, z) uint8 in Fortran order."""
    labels = np.zeros(image.grid.shape, np.uint8, order="F")
    box = tuple(slice(a, a + n) for a, n in zip(image.offset, image.labels.shape, strict=True))
    labels[box] = image.labels
    return labels


def mask_of(labels: np.ndarray, region: str, challenge: Challenge) -> np.ndarray:
    """The voxels of a region, bool, of labels of any shape."""
    rules = challenge.regions[region]
    table = np.full(256, "any" in rules.labels)
    table[0] = False
    table[[challenge.labels[name] for name in rules.labels if name != "any"]] = True
    return (table != rules.outside)[labels]
