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

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from bratseval.lesions import Lesions, dilate
from bratseval.metrics.surface import Distances
from bratseval.surfel_table import surfel_areas

Spacing = tuple[float, float, float]
Definition = Literal["surfel", "voxel", "voxel18", "numbered_surfel"]

BAND_VOXELS = 3  # distances up to three of the smallest spacing are looked up, farther ones searched

# Step in x, y and z from a corner's first voxel to one foreground voxel, for each 2x2x2 neighbor code.
_FOREGROUND = np.array(
    [
        [1 - (bit >> 2 & 1), 1 - (bit >> 1 & 1), 1 - (bit & 1)]
        for bit in (c.bit_length() - 1 for c in range(256))
    ]
)
KEPT_BYTES = 2**22  # of a dense grid that is not made anew for every team
LEAF = 64  # points in a leaf of a tree: few points are asked for, so building costs more than asking


@dataclass(frozen=True)
class Boundary:
    """Boundary points of one region on one side.

    points : (n, 3) int32 grid indices (of voxels, or of corners: corner i lies between i-1 and i), in
        Fortran order, since all steps work on one axis at a time.
    lesion : (n,) unsigned, number of the lesion each point belongs to, 1 or more.
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

    def areas(self, spacing_mm: Spacing) -> np.ndarray | None:
        """(n,) mm^2 of each point, or None where all points count alike."""
        return None if self.code is None else surfel_areas(spacing_mm)[self.code]

    @cached_property
    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Smallest and largest grid index on each axis; there must be a point."""
        return self.points.min(axis=0), self.points.max(axis=0)

    @cached_property
    def _trees(self) -> dict[Spacing, Any]:
        return {}

    def lookup(self) -> tuple[np.ndarray, np.ndarray]:
        """Dense grid of lesion numbers around the points, and its corner; kept if it is not large.

        Padded by twice the band: a step of the band from a point within the band of the box stays in it.
        """
        cells = math.prod((self.box[1] - self.box[0] + 1 + 4 * BAND_VOXELS).tolist())
        return self._small_lookup if cells * self.lesion.itemsize <= KEPT_BYTES else self._lookup()

    @cached_property
    def _small_lookup(self) -> tuple[np.ndarray, np.ndarray]:
        return self._lookup()

    def _lookup(self) -> tuple[np.ndarray, np.ndarray]:
        low = self.box[0] - 2 * BAND_VOXELS
        dense = np.zeros(self.box[1] + 1 + 2 * BAND_VOXELS - low, self.lesion.dtype)
        dense.ravel()[_keys(self.points, low, dense.shape)] = self.lesion
        return dense, low

    def tree(self, spacing_mm: Spacing) -> Any:
        """k-d tree over the points in mm, built once."""
        if spacing_mm not in self._trees:
            self._trees[spacing_mm] = _tree(self.points * np.array(spacing_mm))
        return self._trees[spacing_mm]


def _tree(coordinates: np.ndarray) -> Any:
    from scipy.spatial import cKDTree

    return cKDTree(coordinates, leafsize=LEAF, balanced_tree=False, compact_nodes=False)


def _keys(points: np.ndarray, low: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Flat indices (n,) into an array of this shape in C order whose first element lies at low."""
    keys = (points[:, 0] - low[0]).astype(np.int64)
    for axis in (1, 2):
        keys *= shape[axis]
        keys += points[:, axis] - low[axis]
    return keys


def _coordinates(flat: np.ndarray, shape: tuple[int, ...], corner: Sequence[int]) -> np.ndarray:
    """Grid indices (n, 3) int32 of flat indices into an array in C order that starts at corner."""
    points = np.empty((3, flat.size), np.int32)
    line, points[2] = np.divmod(flat.astype(np.int32 if math.prod(shape) < 2**31 else np.int64), shape[2])
    points[0], points[1] = np.divmod(line, shape[1])
    points += np.array(corner, np.int32)[:, None]
    return points.T


@dataclass(frozen=True, slots=True)
class Nearest:
    """For each point of one boundary: distance in mm to the other, and the lesion of that point.

    Where distances beyond the band are not looked for they are inf, and the lesion is 0.
    """

    distance: np.ndarray
    lesion: np.ndarray


def find_boundary(lesions: Lesions, definition: Definition) -> Boundary:
    """Boundary of all lesions under one of the definitions.

    ``numbered_surfel`` repeats what BraTS 2024-2025 compute for the whole image: the surfel
    codes of the lesion *numbers* (uint8, modulo 256) instead of the mask. Inside lesion 2, 3, ...
    every corner then counts as boundary.
    """
    if definition in ("voxel", "voxel18"):
        return _voxel_boundary(lesions, 6 if definition == "voxel" else 18)
    labels = lesions.labels.ravel()
    shape = lesions.labels.shape
    strides = np.array([shape[1] * shape[2], shape[2], 1])
    # In one dimension, which is fastest: a step past the end of a line only meets the margin, which is 0.
    codes = (labels > 0).view(np.uint8)
    for factor, stride in zip((2, 4, 16), strides[::-1].tolist(), strict=True):
        ahead = codes[stride:]
        codes = factor * codes[:-stride]  # numpy multiplies bytes faster than it shifts them
        codes += ahead
    numbered = definition == "numbered_surfel"
    codes -= 1  # uint8: 0 wraps to 255
    flat = np.flatnonzero(codes < (255 if numbered else 254))
    code = codes[flat] + np.uint8(1)
    lesion = labels[flat + (_FOREGROUND @ strides)[code]]
    if numbered:
        code = code * lesion.astype(np.uint8)  # both modulo 256
        kept = (code != 0) & (code != 255)
        flat, lesion, code = flat[kept], lesion[kept], code[kept]
    points = _coordinates(flat, shape, [place + 1 for place in lesions.offset])
    return Boundary(points, lesion, code)


def _voxel_boundary(lesions: Lesions, neighbors: int) -> Boundary:
    mask = np.ascontiguousarray(lesions.labels > 0)
    if neighbors == 18:
        mask &= dilate((~mask).view(np.uint8), 1).view(bool)
    else:
        _clear_inside(mask)
    flat = np.flatnonzero(mask)
    points = _coordinates(flat, mask.shape, lesions.offset)
    return Boundary(points, lesions.labels.ravel()[flat], None)


def _clear_inside(mask: np.ndarray) -> None:
    """Leave of a mask with a margin the voxels that have a 6-neighbor outside it."""
    flat = mask.ravel()  # in one dimension, as in `find_boundary`
    inner = flat.copy()
    for step in (mask.shape[1] * mask.shape[2], mask.shape[2], 1):
        inner[step:] &= flat[:-step]
        inner[:-step] &= flat[step:]
    flat ^= inner


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


def _reach(spacing_mm: Spacing) -> float:
    """Distance in mm up to which the band finds every point."""
    return BAND_VOXELS * min(spacing_mm)


def near(source: Boundary, target: Boundary, spacing_mm: Spacing) -> Nearest:
    """Distance from each source point to its nearest target point within the band, and that point's lesion.

    Most points lie close to the other boundary, so the steps to them are looked up in a dense grid.
    """
    distance = np.full(len(source.points), np.inf)
    lesion = np.zeros(len(source.points), target.lesion.dtype)
    if not (source.lesion.size and target.lesion.size):
        return Nearest(distance, lesion)
    dense, low = target.lookup()
    strides = np.array(dense.strides) // dense.itemsize
    flat = dense.ravel()
    open_points = np.flatnonzero(_inside(source, target.box[0] - BAND_VOXELS, target.box[1] + BAND_VOXELS))
    keys = _keys(source.points, low, dense.shape)[open_points]
    for steps, length in _band(spacing_mm):
        if not keys.size:
            break
        # All steps of one length at once; any point found is as near as the others.
        found = flat.take(keys + (steps @ strides)[:, None]).max(axis=0)
        hit = found > 0
        close = open_points[hit]
        lesion[close] = found[hit]
        distance[close] = length
        open_points, keys = open_points[~hit], keys[~hit]
    return Nearest(distance, lesion)


def with_far(known: Nearest, source: Boundary, target: Boundary, spacing_mm: Spacing) -> Nearest:
    """The same with the distances beyond the band, which ask a tree."""
    far = np.flatnonzero(known.lesion == 0)
    if not far.size or not target.lesion.size:
        return known
    distance, lesion = known.distance.copy(), known.lesion.copy()
    _, index = target.tree(spacing_mm).query(source.points[far] * np.array(spacing_mm))
    lesion[far] = target.lesion[index]
    distance[far] = _lengths(source.points[far] - target.points[index], spacing_mm)
    return Nearest(distance, lesion)


def _inside(source: Boundary, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which points (n,) of a boundary lie in a box."""
    inside = np.ones(len(source.points), bool)
    for axis in range(3):
        line = source.points[:, axis]
        if source.box[0][axis] < low[axis]:
            inside &= line >= low[axis]
        if source.box[1][axis] > high[axis]:
            inside &= line <= high[axis]
    return inside


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
    places, target_places = points * scale, target_points * scale
    if (target_group != target_group[0]).any():
        both = np.concatenate([points, target_points])
        apart = 4.0 * np.linalg.norm((both.max(axis=0) - both.min(axis=0) + 1) * scale)
        places = np.column_stack([places, group * apart])
        target_places = np.column_stack([target_places, target_group * apart])
    _, index = _tree(target_places).query(places)
    return _lengths(points - target_points[index], spacing_mm)


def measure(reference: Boundary, prediction: Boundary, spacing_mm: Spacing) -> tuple[Nearest, Nearest]:
    """Distances between two boundaries within the band: from the reference, from the prediction."""
    return near(reference, prediction, spacing_mm), near(prediction, reference, spacing_mm)


def measure_far(
    between: tuple[Nearest, Nearest], reference: Boundary, prediction: Boundary, spacing_mm: Spacing
) -> tuple[Nearest, Nearest]:
    """The same with those beyond the band; inf only where the other side is empty."""
    return (
        with_far(between[0], reference, prediction, spacing_mm),
        with_far(between[1], prediction, reference, spacing_mm),
    )


def image_distances(
    reference: Boundary,
    prediction: Boundary,
    between: tuple[Nearest, Nearest],
    spacing_mm: Spacing,
    *,
    far: bool = True,
) -> Distances:
    """The record that whole-image metrics read; far: ``between`` holds distances beyond the band too."""
    return Distances(
        between[0].distance,
        between[1].distance,
        reference.areas(spacing_mm),
        prediction.areas(spacing_mm),
        min(spacing_mm),
        np.inf if far else _reach(spacing_mm),
    )


def lesion_distances(
    reference: Boundary,
    prediction: Boundary,
    between: tuple[Nearest, Nearest],
    matches: np.ndarray,
    spacing_mm: Spacing,
    *,
    far: bool = True,
) -> dict[int, Distances]:
    """Distances between each matched reference lesion and the union of its predicted lesions.

    matches : (reference numbers, prediction numbers) bool.
    """
    matched = np.flatnonzero(matches.any(axis=1))
    groups = [(np.array([lesion]), np.flatnonzero(matches[lesion])) for lesion in matched]
    found = group_distances(reference, prediction, between, groups, spacing_mm, far=far)
    return dict(zip(matched.tolist(), found, strict=True))


def group_distances(
    reference: Boundary,
    prediction: Boundary,
    between: tuple[Nearest, Nearest],
    groups: Sequence[tuple[np.ndarray, np.ndarray]],
    spacing_mm: Spacing,
    *,
    far: bool = True,
) -> list[Distances]:
    """Distances between the union of some reference lesions and that of some predicted ones, by group.

    groups : pairs of numbers of reference and of predicted lesions. The nearest point found for the whole
    image is also the group's wherever it belongs to it; only the other points ask again. far: as
    ``between`` is; without it all distances beyond the band are infinite, or those of points that asked
    again would count as nearer than those of points that did not.
    """
    if not groups:
        return []
    own = _Groups.of(reference, [ours for ours, _ in groups])
    partners = _Groups.of(prediction, [theirs for _, theirs in groups])
    reach = np.inf if far else _reach(spacing_mm)
    forward = _within_groups(own, partners, between[0], spacing_mm, reach)
    backward = _within_groups(partners, own, between[1], spacing_mm, reach)
    areas, partner_areas = (
        [None] * len(groups)
        if (all_areas := side.boundary.areas(spacing_mm)) is None
        else side.cut(all_areas[side.points])
        for side in (own, partners)
    )
    return [
        Distances(*facts, min(spacing_mm), reach)
        for facts in zip(forward, backward, areas, partner_areas, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Groups:
    """Points of a boundary by group of lesions.

    lesion, owner : (m,) numbers of the lesions of all groups, and the group of each.
    points, group : (n,) indices of their points, one group after the other, and the group of each.
    ends : where the points of each group end.
    """

    boundary: Boundary
    lesion: np.ndarray
    owner: np.ndarray
    points: np.ndarray
    group: np.ndarray
    ends: list[int]

    @classmethod
    def of(cls, boundary: Boundary, numbers: Sequence[np.ndarray]) -> _Groups:
        """The points of the lesions with these numbers, by group."""
        lesion = np.concatenate(numbers)
        owner = np.repeat(np.arange(len(numbers)), [own.size for own in numbers])
        order, starts = boundary.by_lesion
        begin, end = (starts[np.minimum(lesion + step, starts.size - 1)] for step in (0, 1))
        count = end - begin
        first = begin - (np.cumsum(count) - count)  # minus the points of the lesions before
        points = order[np.repeat(first, count) + np.arange(count.sum())]
        sizes = np.bincount(owner, count, len(numbers)).astype(np.int64)
        group = np.repeat(np.arange(len(numbers)), sizes)
        return cls(boundary, lesion, owner, points, group, np.cumsum(sizes).tolist())

    def cut(self, values: np.ndarray) -> list[np.ndarray]:
        """Values of the points, by group."""
        return [values[begin:end] for begin, end in pairwise([0, *self.ends])]


def _within_groups(
    source: _Groups, target: _Groups, known: Nearest, spacing_mm: Spacing, reach: float
) -> list[np.ndarray]:
    """Distances from each group's source points to its target points; inf beyond the reach."""
    distance = known.distance[source.points]
    belongs = np.zeros(
        (len(target.ends), int(max(target.boundary.lesion.max(), target.lesion.max())) + 1), bool
    )
    belongs[:, 0] = True  # nothing is within the band, of any group
    belongs[target.owner, target.lesion] = True
    open_points = np.flatnonzero(~belongs[source.group, known.lesion[source.points]])
    if open_points.size:
        needed = np.isin(target.group, np.unique(source.group[open_points]))
        distance[open_points] = nearest_in_group(
            source.boundary.points[source.points[open_points]],
            source.group[open_points],
            target.boundary.points[target.points[needed]],
            target.group[needed],
            spacing_mm,
        )
    distance[distance > reach] = np.inf
    return source.cut(distance)
