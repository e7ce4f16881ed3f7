"""Boundaries of lesions as points, and distances from one boundary to another.

Three definitions of a boundary are in use, and give different numbers:

``surfel``: the corners between voxels whose 2x2x2 neighborhood is mixed, each with the area (mm^2)
    that marching cubes assigns to it (DeepMind surface-distance; BraTS 2023-2025).
``voxel``: the mask's voxels with a 6-neighbor outside it, all alike (MedPy, panoptica, nnU-Net).
``voxel18``: the mask's voxels with an 18-neighbor outside it, all alike (LiTS).

Lesions never share a boundary point, because lesions are not 26-neighbors of each other. So the
boundary of the whole mask is computed once and each point belongs to one lesion. Of 6-connected lesions
this holds for border voxels: two voxels of different lesions that share an edge have a 6-neighbor outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import numpy as np

from bratseval.lesions import Lesions, dilate
from bratseval.metrics.surface import Distances
from bratseval.surfel_table import surfel_areas

Spacing = tuple[float, float, float]
Definition = Literal["surfel", "voxel", "voxel18", "numbered_surfel"]

BAND_VOXELS = 3  # distances up to three of the smallest spacing are looked up, farther ones searched

# Position (0-7, as in the neighbor code) of one foreground voxel of each 2x2x2 code.
_FOREGROUND = np.array([max(code.bit_length() - 1, 0) for code in range(256)], np.int64)


@dataclass(frozen=True)
class Boundary:
    """Boundary points of one region on one side.

    points : (n, 3) int32 grid indices (of voxels, or of corners: corner i lies between i-1 and i).
    lesion : (n,) number of the lesion each point belongs to.
    code : (n,) uint8 neighbor code of a surfel, or None for voxels.
    """

    points: np.ndarray
    lesion: np.ndarray
    code: np.ndarray | None

    @cached_property
    def by_lesion(self) -> tuple[np.ndarray, np.ndarray]:
        """Order that sorts the points by lesion, and where each lesion number starts in it."""
        order = np.argsort(self.lesion, kind="stable")
        highest = int(self.lesion.max()) if self.lesion.size else 0
        return order, np.searchsorted(self.lesion[order], np.arange(highest + 2))

    def of_lesion(self, number: int) -> np.ndarray:
        """Indices of the points of one lesion."""
        order, starts = self.by_lesion
        return order[starts[number] : starts[number + 1]] if number + 1 < starts.size else order[:0]

    def areas(self, spacing_mm: Spacing) -> np.ndarray | None:
        """(n,) mm^2 of each point, or None where all points count alike."""
        return None if self.code is None else surfel_areas(spacing_mm)[self.code]

    @cached_property
    def _lookup(self) -> tuple[np.ndarray, np.ndarray]:
        """Dense grid of point index + 1 around the points, padded by the band, and its corner."""
        low = self.points.min(axis=0) - BAND_VOXELS
        shape = self.points.max(axis=0) + 1 + BAND_VOXELS - low
        dense = np.zeros(shape, np.int32)
        dense[tuple((self.points - low).T)] = np.arange(1, len(self.points) + 1)
        return dense, low

    @cached_property
    def _trees(self) -> dict[Spacing, Any]:
        return {}

    def tree(self, spacing_mm: Spacing) -> Any:
        """k-d tree over the points in mm, built once."""
        if spacing_mm not in self._trees:
            self._trees[spacing_mm] = _tree(self.points * np.array(spacing_mm))
        return self._trees[spacing_mm]


def _tree(coordinates: np.ndarray) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(coordinates, balanced_tree=False, compact_nodes=False)


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each point of one boundary: distance in mm to the other, and the index of that point."""

    distance: np.ndarray
    target: np.ndarray


def find_boundary(lesions: Lesions, definition: Definition) -> Boundary:
    """Boundary of all lesions under one of the definitions.

    ``numbered_surfel`` repeats what BraTS 2024-2025 compute for the whole image: the surfel
    codes of the lesion *numbers* (uint8, modulo 256) instead of the mask. Inside lesion 2, 3, ...
    every corner then counts as boundary.
    """
    if definition in ("voxel", "voxel18"):
        return _voxel_boundary(lesions, 6 if definition == "voxel" else 18)
    mask = (lesions.labels > 0).view(np.uint8)
    along_z = (mask[:, :, :-1] << 1) | mask[:, :, 1:]
    along_y = (along_z[:, :-1] << 2) | along_z[:, 1:]
    codes = (along_y[:-1] << 4) | along_y[1:]
    numbered = definition == "numbered_surfel"
    border = codes > 0 if numbered else (codes - 1) < 254  # uint8: 0 wraps to 255
    flat = np.flatnonzero(border)
    cells = np.stack(np.unravel_index(flat, border.shape), axis=1).astype(np.int32)
    code = codes.ravel()[flat]
    bit = _FOREGROUND[code]
    voxel = cells + np.stack([1 - (bit >> 2), 1 - ((bit >> 1) & 1), 1 - (bit & 1)], axis=1)
    lesion = lesions.labels[voxel[:, 0], voxel[:, 1], voxel[:, 2]].astype(np.int64)
    if numbered:
        code = (code.astype(np.int64) * (lesion % 256) % 256).astype(np.uint8)
        kept = (code != 0) & (code != 255)
        cells, lesion, code = cells[kept], lesion[kept], code[kept]
    points = cells + (np.array(lesions.offset, np.int32) + 1)
    return Boundary(points.astype(np.int32), lesion, code)


def _voxel_boundary(lesions: Lesions, neighbors: int) -> Boundary:
    mask = lesions.labels > 0
    if neighbors == 18:
        mask &= dilate((~mask).view(np.uint8), 1).view(bool)
    else:
        _clear_inside(mask)
    flat = np.flatnonzero(mask)
    points = np.stack(np.unravel_index(flat, mask.shape), axis=1) + np.array(lesions.offset)
    return Boundary(points.astype(np.int32), lesions.labels.ravel()[flat].astype(np.int64), None)


def _clear_inside(mask: np.ndarray) -> None:
    """Leave of a mask with a margin the voxels that have a 6-neighbor outside it."""
    inner = mask[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (slice(None, -2), slice(2, None)):
            window: list[slice] = [slice(1, -1)] * 3
            window[axis] = shift
            inner &= mask[tuple(window)]
    mask[1:-1, 1:-1, 1:-1] ^= inner


@lru_cache(maxsize=64)
def _band(spacing_mm: Spacing) -> list[tuple[np.ndarray, float]]:
    """Steps (m, 3) of at most BAND_VOXELS smallest spacings, grouped by length in mm, nearest first."""
    reach = np.arange(-BAND_VOXELS, BAND_VOXELS + 1)
    steps = np.stack(np.meshgrid(reach, reach, reach, indexing="ij"), axis=-1).reshape(-1, 3)
    lengths = _lengths(steps, spacing_mm)
    within = np.unique(lengths[lengths <= BAND_VOXELS * min(spacing_mm)])
    return [(steps[lengths == length], float(length)) for length in within]


def _lengths(steps: np.ndarray, spacing_mm: Spacing) -> np.ndarray:
    scaled = steps * np.array(spacing_mm)
    scaled *= scaled
    # Summed axis by axis, like scipy's distance transform, so that equal distances stay equal.
    return np.sqrt(scaled[:, 0] + scaled[:, 1] + scaled[:, 2])


def nearest(source: Boundary, target: Boundary, spacing_mm: Spacing) -> Nearest:
    """Distance from each source point to its nearest target point, and that point's index.

    Most points lie close to the other boundary: near steps are looked up in a dense grid, and
    only what is left asks the tree. The target must not be empty.
    """
    distance = np.empty(len(source.points))
    index = np.full(len(source.points), -1, np.int64)
    dense, low = target._lookup
    local = source.points - low
    inside = np.all((local >= BAND_VOXELS) & (local < np.array(dense.shape) - BAND_VOXELS), axis=1)
    open_points = np.flatnonzero(inside)
    strides = np.array(dense.strides) // dense.itemsize
    keys = local[open_points] @ strides
    flat = dense.ravel()
    for steps, length in _band(spacing_mm):
        if not keys.size:
            break
        # All steps of one length at once; any point found is as near as the others.
        found = flat.take(keys + (steps @ strides)[:, None], mode="clip").max(axis=0)
        hit = found > 0
        index[open_points[hit]] = found[hit] - 1
        distance[open_points[hit]] = length
        open_points, keys = open_points[~hit], keys[~hit]
    far = np.flatnonzero(index < 0)
    if far.size:
        _, index[far] = target.tree(spacing_mm).query(source.points[far] * np.array(spacing_mm))
        distance[far] = _lengths(source.points[far] - target.points[index[far]], spacing_mm)
    return Nearest(distance, index)


def nearest_in_group(
    points: np.ndarray,
    group: np.ndarray,
    target_points: np.ndarray,
    target_group: np.ndarray,
    spacing_mm: Spacing,
) -> np.ndarray:
    """Distance (n,) in mm from each point to the nearest target point of the same group.

    The group is a fourth coordinate, too far apart to be crossed: one tree serves all groups.
    """
    scale = np.array(spacing_mm)
    both = np.concatenate([points, target_points])
    apart = 4.0 * np.linalg.norm((both.max(axis=0) - both.min(axis=0) + 1) * scale)
    tree = _tree(np.column_stack([target_points * scale, target_group * apart]))
    _, index = tree.query(np.column_stack([points * scale, group * apart]))
    return _lengths(points - target_points[index], spacing_mm)


def measure(reference: Boundary, prediction: Boundary, spacing_mm: Spacing) -> tuple[Nearest, Nearest]:
    """Distances between the boundaries of the whole masks: from the reference, from the prediction."""
    if len(reference.points) and len(prediction.points):
        return nearest(reference, prediction, spacing_mm), nearest(prediction, reference, spacing_mm)
    none = np.zeros(0, np.int64)
    return (
        Nearest(np.full(len(reference.points), np.inf), none),
        Nearest(np.full(len(prediction.points), np.inf), none),
    )


def image_distances(
    reference: Boundary, prediction: Boundary, between: tuple[Nearest, Nearest], spacing_mm: Spacing
) -> Distances:
    """The record that whole-image metrics read."""
    return Distances(
        between[0].distance,
        between[1].distance,
        reference.areas(spacing_mm),
        prediction.areas(spacing_mm),
        min(spacing_mm),
    )


def lesion_distances(
    reference: Boundary,
    prediction: Boundary,
    between: tuple[Nearest, Nearest],
    matches: np.ndarray,
    spacing_mm: Spacing,
) -> dict[int, Distances]:
    """Distances between each matched reference lesion and the union of its predicted lesions.

    matches : (reference numbers, prediction numbers) bool.
    """
    matched = np.flatnonzero(matches.any(axis=1))
    groups = [(np.array([lesion]), np.flatnonzero(matches[lesion])) for lesion in matched]
    found = group_distances(reference, prediction, between, groups, spacing_mm)
    return dict(zip(matched.tolist(), found, strict=True))


def group_distances(
    reference: Boundary,
    prediction: Boundary,
    between: tuple[Nearest, Nearest],
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    spacing_mm: Spacing,
) -> list[Distances]:
    """Distances between the union of some reference lesions and that of some predicted ones, by group.

    groups : pairs of numbers of reference and of predicted lesions. The nearest point found for the whole
    image is also the group's wherever it belongs to it; only the other points ask again.
    """
    if not groups:
        return []
    own = [np.concatenate([reference.of_lesion(int(r)) for r in ours]) for ours, _ in groups]
    partners = [np.concatenate([prediction.of_lesion(int(p)) for p in theirs]) for _, theirs in groups]
    forward = _within_groups(reference, own, prediction, partners, between[0], spacing_mm)
    backward = _within_groups(prediction, partners, reference, own, between[1], spacing_mm)
    areas, partner_areas = reference.areas(spacing_mm), prediction.areas(spacing_mm)
    return [
        Distances(
            forward[i],
            backward[i],
            None if areas is None else areas[own[i]],
            None if partner_areas is None else partner_areas[partners[i]],
            min(spacing_mm),
        )
        for i in range(len(groups))
    ]


def _within_groups(
    source: Boundary,
    source_groups: list[np.ndarray],
    target: Boundary,
    target_groups: list[np.ndarray],
    known: Nearest,
    spacing_mm: Spacing,
) -> list[np.ndarray]:
    """Distances from each group's source points to the target points of the same group."""
    sources = np.concatenate(source_groups)
    targets = np.concatenate(target_groups)
    source_group = np.repeat(np.arange(len(source_groups)), [len(group) for group in source_groups])
    target_group = np.repeat(np.arange(len(target_groups)), [len(group) for group in target_groups])
    distance = known.distance[sources]
    belongs = np.zeros((len(target_groups), int(target.lesion.max()) + 1), bool)
    belongs[target_group, target.lesion[targets]] = True
    open_points = np.flatnonzero(~belongs[source_group, target.lesion[known.target[sources]]])
    if open_points.size:
        needed = np.isin(target_group, np.unique(source_group[open_points]))
        distance[open_points] = nearest_in_group(
            source.points[sources[open_points]],
            source_group[open_points],
            target.points[targets[needed]],
            target_group[needed],
            spacing_mm,
        )
    ends = np.cumsum([len(group) for group in source_groups])[:-1]
    return np.split(distance, ends)
