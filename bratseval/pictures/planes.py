"""Planes of a volume as a radiologist looks at them, and the outlines and colors that are laid over them.

A plane is an array of rows from the top and columns from the left. Everything here is a function of arrays:
nothing is read, and matplotlib is not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bratseval.nifti import Grid

PLANES = ("sagittal", "coronal", "axial")
# What lies at the left, right, top and bottom of each: the patient's right is at the left of the picture.
SIDES = {
    "sagittal": ("A", "P", "S", "I"),
    "coronal": ("R", "L", "S", "I"),
    "axial": ("R", "L", "A", "P"),
}
MOST_PIXELS = 512  # of a plane along a side; a panel has about 300
Color = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Frame:
    """How the axes of a file lie in the patient: to the right, to the front and to the top.

    axes : the axis of the file for each of the three. flipped : whether its index falls in that direction.
    shape, spacing_mm : along the three. placed : False where the file does not say how it lies; then x runs
    to the right of the picture and y down, as in a photograph.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    placed: bool


@dataclass(frozen=True, slots=True)
class Boxed:
    """A part of a volume: values (x, y, z), the first of which lies at ``offset`` of a grid of ``shape``."""

    values: np.ndarray
    offset: tuple[int, int, int]
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a plane that is shown: left, right, top and bottom in mm from its upper left corner."""

    left: float
    right: float
    top: float
    bottom: float


def frame_of(grid: Grid) -> Frame:
    """The frame of a grid; of an oblique one, that of the nearest axes."""
    axes, flipped = (0, 1, 2), (True, True, False)
    if grid.has_affine:
        columns = grid.affine[:3, :3] / np.linalg.norm(grid.affine[:3, :3], axis=0)
        axes = _nearest_axes(columns)
        first, second, third = (bool(columns[world, axis] < 0) for world, axis in enumerate(axes))
        flipped = (first, second, third)
    shape = tuple(grid.shape[axis] for axis in axes)
    spacing = tuple(grid.spacing_mm[axis] for axis in axes)
    return Frame(
        axes, flipped, (shape[0], shape[1], shape[2]), (spacing[0], spacing[1], spacing[2]), grid.has_affine
    )


def _nearest_axes(columns: np.ndarray) -> tuple[int, int, int]:
    """For each world axis the file's axis, so that together they point most along the world's."""
    from itertools import permutations

    return max(
        permutations((0, 1, 2)),
        key=lambda axes: sum(abs(float(columns[world, axis])) for world, axis in enumerate(axes)),
    )  # type: ignore[return-value]


def visible_planes(frame: Frame) -> list[str]:
    """The planes that have an area: of an image of one slice only its own."""
    there = [
        name
        for axis, name in enumerate(PLANES)
        if all(extent > 1 for other, extent in enumerate(frame.shape) if other != axis)
    ]
    return there or ["axial"]


def plane_of(volume: Boxed, frame: Frame, name: str, index: int) -> np.ndarray:
    """The plane at an index of the file's axis; 0 outside the box."""
    axis = frame.axes[PLANES.index(name)]
    rest = [other for other in range(3) if other != axis]
    whole = np.zeros([volume.shape[other] for other in rest], volume.values.dtype)
    at = index - volume.offset[axis]
    if 0 <= at < volume.values.shape[axis]:
        box = tuple(
            slice(volume.offset[other], volume.offset[other] + volume.values.shape[other]) for other in rest
        )
        whole[box] = np.take(volume.values, at, axis=axis)
    across, up = (world for world in range(3) if world != PLANES.index(name))
    if frame.axes[across] > frame.axes[up]:
        whole = whole.T
    # Now (across, up) along the file's axes: turned to fall to the right and down, that is, toward the
    # patient's left or back, and toward the feet or back.
    return whole[_falling(frame.flipped[across]), _falling(frame.flipped[up])].T


def _falling(flipped: bool) -> slice:
    return slice(None) if flipped else slice(None, None, -1)


def size_mm(frame: Frame, name: str) -> tuple[float, float]:
    """Width and height of a whole plane in mm."""
    across, up = (world for world in range(3) if world != PLANES.index(name))
    return frame.shape[across] * frame.spacing_mm[across], frame.shape[up] * frame.spacing_mm[up]


def center_mm(frame: Frame, name: str, box: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Center of a box of voxels (start, stop along each axis of the file), from the corner of the plane."""
    center = []
    for world in range(3):
        if world == PLANES.index(name):
            continue
        start, stop = box[frame.axes[world]]
        middle = (start + stop) / 2
        along = middle if frame.flipped[world] else frame.shape[world] - middle
        center.append(along * frame.spacing_mm[world])
    return center[0], center[1]


def window_around(
    center: tuple[float, float], wanted: tuple[float, float], size: tuple[float, float]
) -> Window:
    """A window of the wanted width and height, moved into the plane; a smaller plane lies in its middle."""
    edges = []
    for middle, length, extent in zip(center, wanted, size, strict=True):
        start = middle - length / 2
        start = (extent - length) / 2 if length >= extent else min(max(start, 0.0), extent - length)
        edges += [start, start + length]
    return Window(*edges)


def crop_mm(
    box: Sequence[tuple[int, int]],
    around: Sequence[tuple[int, int]],
    frame: Frame,
    spacing_mm: Sequence[float],
) -> float:
    """Side of the window: the box and as much again beside it, most of what it belongs to, 20 mm, 20 voxels.

    box, around : of voxels, start and stop along each axis of the file. Whatever of these is the longest, but
    no more than the largest extent of the volume.
    """
    of_box, of_whole = (
        max((stop - start) * mm for (start, stop), mm in zip(one, spacing_mm, strict=True))
        for one in (box, around)
    )
    extents = list(zip(frame.shape, frame.spacing_mm, strict=True))
    in_plane = [(extent, mm) for extent, mm in extents if extent > 1] or extents
    finest = min(mm for _, mm in in_plane)
    most = max(extent * mm for extent, mm in in_plane)
    return min(max(1.6 * of_box, 0.7 * of_whole, 20 * finest, 20.0 if frame.placed else 0.0), most)


def thinned(plane: np.ndarray) -> np.ndarray:
    """Every second, third, ... row and column of a plane that has more of them than a picture shows."""
    steps = [-(-extent // MOST_PIXELS) for extent in plane.shape[:2]]
    return plane[:: steps[0], :: steps[1]]


def outline(mask: np.ndarray) -> list[np.ndarray]:
    """The borders of a mask (rows, columns) as closed polygons, exactly between voxels.

    Each is (n, 2): column and row of its corners, voxel (0, 0) reaching from (0, 0) to (1, 1), first and last
    the same. Outer borders run clockwise on the picture and holes the other way round; voxels that touch at
    a corner only have borders of their own.
    """
    padded = np.pad(mask.astype(bool), 1)
    inner = padded[1:-1, 1:-1]
    ahead: dict[tuple[int, int], list[tuple[int, int]]] = {}
    # Edges with the mask on their right hand: along the top to the right, down the right side, and so on.
    for outside, start, stop in (
        (padded[:-2, 1:-1], (0, 0), (1, 0)),
        (padded[1:-1, 2:], (1, 0), (1, 1)),
        (padded[2:, 1:-1], (1, 1), (0, 1)),
        (padded[1:-1, :-2], (0, 1), (0, 0)),
    ):
        rows, columns = np.nonzero(inner & ~outside)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            ahead.setdefault((column + start[0], row + start[1]), []).append(
                (column + stop[0], row + stop[1])
            )
    polygons = []
    while ahead:
        first = min(ahead)
        corners = [first]
        at, before = ahead[first].pop(), first
        if not ahead[first]:
            del ahead[first]
        while at != first:
            onward = ahead[at]
            # At a corner where two voxels touch, keep to the voxel: turn right.
            turn = (at[0] - before[0], at[1] - before[1])
            right = (at[0] - turn[1], at[1] + turn[0])
            further = onward.pop(onward.index(right)) if right in onward else onward.pop()
            if not onward:
                del ahead[at]
            if (further[0] - at[0], further[1] - at[1]) != turn:
                corners.append(at)
            before, at = at, further
        polygons.append(np.array([*corners, first], float))
    return polygons


def colored(gray: np.ndarray, layers: Sequence[tuple[np.ndarray, Color]], opacity: float = 0.5) -> np.ndarray:
    """A gray plane (rows, columns), 0 to 1, with masks laid over it in colors: (rows, columns, 3) uint8."""
    picture = np.repeat(np.clip(gray, 0, 1)[..., None], 3, axis=2) if gray.ndim == 2 else gray.astype(float)
    for mask, color in layers:
        picture[mask] = (1 - opacity) * picture[mask] + opacity * np.array(color)
    return np.rint(picture * 255).astype(np.uint8)


def gray_levels(values: np.ndarray) -> tuple[float, float]:
    """The values that are shown black and white: percentile 1 and 99.5 of what is no background.

    The background is the smallest value; where nothing is below zero it is black itself.
    """
    sample = values[tuple(slice(None, None, max(1, extent // 96)) for extent in values.shape)].ravel()
    least = float(sample.min()) if sample.size else 0.0
    foreground = sample[sample != least]
    if not foreground.size:
        return least, least + 1.0
    low, high = (float(edge) for edge in np.percentile(foreground.astype(np.float64), (1, 99.5)))
    low = min(low, least) if least >= 0 else low
    return (
        (low, high + 0.15 * (high - low)) if low < high else (low - 1.0, low + 1.0)
    )  # white is for outlines
