"""Panels of planes: anatomy, errors in color, outlines of both sides, and an overview of the whole."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bratseval.nifti import Grid
from bratseval.pictures.page import Key, Panel, draw_line, label, panel_size
from bratseval.pictures.planes import (
    PLANES,
    SIDES,
    Boxed,
    Color,
    Frame,
    Window,
    center_mm,
    colored,
    crop_mm,
    gray_levels,
    outline,
    plane_of,
    size_mm,
    thinned,
    visible_planes,
    window_around,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Of Okabe and Ito's colors, which people with any kind of color vision tell apart.
GREEN, VERMILLION, BLUE = (
    (0.0, 158 / 255, 115 / 255),
    (213 / 255, 94 / 255, 0.0),
    (86 / 255, 180 / 255, 233 / 255),
)
WHITE, YELLOW = (1.0, 1.0, 1.0), (240 / 255, 228 / 255, 66 / 255)
FALSE_POSITIVE, FALSE_NEGATIVE = "//", "..."  # hatches: the colors are not needed
FLAT = 89 / 255  # where there is no image
MOST_EDGES = 40_000  # of the outlines of a plane, beyond which it is noise and only colored
OPACITY = 0.55


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sides of a region in one box: bool (x, y, z); prediction None where there is none."""

    reference: np.ndarray
    prediction: np.ndarray | None
    offset: tuple[int, int, int]
    shape: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """An image (x, y, z) or in colors (x, y, 3), and the values that are black and white."""

    values: np.ndarray
    levels: tuple[float, float]

    def plane(self, frame: Frame, name: str, index: int) -> np.ndarray:
        """The plane, 0 to 1."""
        if (
            self.values.ndim == 3
            and self.values.dtype == np.uint8
            and self.values.shape[2] == 3 != frame.shape[2]
        ):
            return self.values.transpose(1, 0, 2) / 255
        shape = (self.values.shape[0], self.values.shape[1], self.values.shape[2])
        plane = plane_of(Boxed(self.values, (0, 0, 0), shape), frame, name, index).astype(np.float64)
        return np.clip((plane - self.levels[0]) / (self.levels[1] - self.levels[0]), 0, 1)


def anatomy_of(values: np.ndarray) -> Anatomy:
    """An image with its usual levels."""
    return Anatomy(values, gray_levels(values))


@dataclass(frozen=True, slots=True)
class Shown:
    """Which planes are drawn, and the box (start, stop by axis of the file) in their middle."""

    frame: Frame
    indices: tuple[int, int, int]  # along the axes of the file
    box: tuple[tuple[int, int], ...]
    spacing_mm: tuple[float, float, float]
    around: tuple[tuple[int, int], ...] = ()  # the box of what that belongs to

    def index(self, name: str) -> int:
        """Index of a plane along its axis of the file."""
        return self.indices[self.frame.axes[PLANES.index(name)]]

    @property
    def planes(self) -> dict[str, int]:
        """Index by name of the planes that are drawn."""
        return {name: self.index(name) for name in visible_planes(self.frame)}

    def windows(self, slots: Sequence[float], names: Sequence[str] = ()) -> dict[str, Window]:
        """The part of each plane that its panel shows, all at one scale; the panels have equal slots.

        slots : of the whole row, whose first are those of planes.
        """
        side = crop_mm(self.box, self.around or self.box, self.frame, self.spacing_mm)
        width, height = panel_size(slots[0], slots)
        scale = side / min(width, height)
        wanted = (width * scale, height * scale)
        return {
            name: window_around(center_mm(self.frame, name, self.box), wanted, size_mm(self.frame, name))
            for name in names or visible_planes(self.frame)
        }


def values_drawing(
    shown: Shown,
    values: np.ndarray,
    name: str,
    window: Window,
    look: tuple[str, float, float],
    *,
    outlined: np.ndarray | None = None,
    scale: bool,
) -> Callable[[Axes], None]:
    """A plane of an image (x, y, z) in the colors of a map.

    look : name of the map, and the values at its ends. outlined : a mask whose outline is drawn. scale :
    whether a scale bar is.
    """
    frame, size = shown.frame, size_mm(shown.frame, name)
    colors, low, high = look

    def cut(volume: np.ndarray) -> tuple[np.ndarray, tuple[float, float, float, float]]:
        shape = (volume.shape[0], volume.shape[1], volume.shape[2])
        plane = plane_of(Boxed(volume, (0, 0, 0), shape), frame, name, shown.index(name))
        part, extent = cropped(plane, window, size)
        return thinned(part), extent

    def draw(axes: Axes) -> None:
        part, extent = cut(values)
        show_plane(axes, part, extent, window, cmap=colors, vmin=low, vmax=high)
        if outlined is not None:
            draw_outline(axes, cut(outlined)[0], extent, WHITE, dashed=False)
        if frame.placed:
            write_sides(axes, name)
        if scale:
            draw_scale(axes, window, frame)

    return draw


def side_panels(shown: Shown, sides: Sides, anatomy: Anatomy | None, further: Sequence[float]) -> list[Panel]:
    """The three planes (or the one of a 2-D image) with errors and outlines, and an overview.

    further : slots of panels that follow in the row.
    """
    names = visible_planes(shown.frame)
    each = 1.0 if len(names) > 1 else 1.6
    slots = [each] * len(names) + [1.0 if len(names) > 1 else 1.6] + [*further]
    if further:
        del slots[len(names)]
    windows = shown.windows(slots)
    panels = []
    for at, name in enumerate(names):
        draw = _drawing_of(shown, sides, anatomy, name, windows[name], scale=at == 0)
        panels.append(Panel(_name(shown, name), draw, each))
    if not further:
        last = names[-1]
        panels.append(
            Panel(
                f"whole {last} plane" if shown.frame.placed or len(names) > 1 else "whole image",
                _overview(shown, sides, anatomy, last, windows[last]),
                slots[len(names)],
            )
        )
    return panels


def _name(shown: Shown, name: str) -> str:
    if not shown.frame.placed and len(visible_planes(shown.frame)) == 1:
        return "image"
    return f"{name}, plane {shown.index(name)}"


def error_layers(
    reference: np.ndarray, prediction: np.ndarray | None
) -> tuple[list[tuple[np.ndarray, Color]], np.ndarray, np.ndarray]:
    """Masks with their colors, and the false positives and false negatives among them."""
    if prediction is None:
        nothing = np.zeros_like(reference)
        return [(reference, BLUE)], nothing, reference
    spurious, missed = prediction & ~reference, reference & ~prediction
    return [(reference & prediction, GREEN), (spurious, VERMILLION), (missed, BLUE)], spurious, missed


def _plane_pair(shown: Shown, sides: Sides, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    def cut(mask: np.ndarray) -> np.ndarray:
        return plane_of(Boxed(mask, sides.offset, sides.shape), shown.frame, name, shown.index(name))

    return cut(sides.reference), None if sides.prediction is None else cut(sides.prediction)


def background(anatomy: Anatomy | None, shown: Shown, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The anatomy of a plane, or flat gray."""
    if anatomy is None:
        return np.full(shape, FLAT)
    return anatomy.plane(shown.frame, name, shown.index(name))


def cropped(
    plane: np.ndarray, window: Window, size: tuple[float, float]
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """What of a plane a window shows, with a voxel around it, and its left, right, bottom and top in mm."""
    rows, columns = plane.shape[:2]
    dx, dy = size[0] / columns, size[1] / rows
    first = [max(0, int(np.floor(edge / step)) - 1) for edge, step in ((window.left, dx), (window.top, dy))]
    last = [
        min(count, int(np.ceil(edge / step)) + 1)
        for edge, step, count in ((window.right, dx, columns), (window.bottom, dy, rows))
    ]
    part = plane[first[1] : last[1], first[0] : last[0]]
    return part, (first[0] * dx, last[0] * dx, last[1] * dy, first[1] * dy)


def show_plane(
    axes: Axes, picture: np.ndarray, extent: tuple[float, float, float, float], window: Window, **more: Any
) -> Any:
    """Draw an array where it lies, and nothing else of the axes."""
    shown = axes.imshow(picture, extent=extent, interpolation="nearest", aspect="auto", **more)
    axes.set_xlim(window.left, window.right)
    axes.set_ylim(window.bottom, window.top)
    axes.set_facecolor("black")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    return shown


def _drawing_of(
    shown: Shown, sides: Sides, anatomy: Anatomy | None, name: str, window: Window, *, scale: bool
) -> Callable[[Axes], None]:
    size = size_mm(shown.frame, name)

    def draw(axes: Axes) -> None:
        reference, prediction = _plane_pair(shown, sides, name)
        gray, extent = cropped(background(anatomy, shown, name, reference.shape), window, size)
        reference = cropped(reference, window, size)[0]
        prediction = None if prediction is None else cropped(prediction, window, size)[0]
        gray, reference = thinned(gray), thinned(reference)
        prediction = None if prediction is None else thinned(prediction)
        layers, spurious, missed = error_layers(reference, prediction)
        show_plane(axes, colored(gray, layers, OPACITY), extent, window)
        _hatch(axes, spurious, extent, FALSE_POSITIVE)
        _hatch(axes, missed, extent, FALSE_NEGATIVE)
        draw_outline(axes, reference, extent, WHITE, dashed=False)
        if prediction is not None:
            draw_outline(axes, prediction, extent, YELLOW, dashed=True)
        if shown.frame.placed:
            write_sides(axes, name)
        if scale:
            draw_scale(axes, window, shown.frame)

    return draw


def _overview(
    shown: Shown, sides: Sides, anatomy: Anatomy | None, name: str, window: Window
) -> Callable[[Axes], None]:
    size = size_mm(shown.frame, name)

    def draw(axes: Axes) -> None:
        from matplotlib.patches import Rectangle

        reference, prediction = _plane_pair(shown, sides, name)
        gray = background(anatomy, shown, name, reference.shape)
        layers = error_layers(reference, prediction)[0]
        everything = colored(gray, layers, 0.75)
        box = axes.get_window_extent()
        scale = max(size[0] / box.width, size[1] / box.height)
        whole = window_around((size[0] / 2, size[1] / 2), (box.width * scale, box.height * scale), size)
        show_plane(axes, everything, (0, size[0], size[1], 0), whole)
        corner = (max(window.left, 0), max(window.top, 0))
        width, height = min(window.right, size[0]) - corner[0], min(window.bottom, size[1]) - corner[1]
        axes.add_patch(Rectangle(corner, width, height, facecolor="none", edgecolor="white", linewidth=1.6))
        if shown.frame.placed:
            write_sides(axes, name)

    return draw


def _polygons(mask: np.ndarray, extent: tuple[float, float, float, float]) -> list[np.ndarray]:
    """Outlines in mm."""
    edges = sum(int(np.count_nonzero(np.diff(mask.astype(np.int8), axis=axis))) for axis in (0, 1))
    if not mask.any() or edges > MOST_EDGES:
        return []
    left, right, bottom, top = extent
    step = np.array([(right - left) / mask.shape[1], (bottom - top) / mask.shape[0]])
    return [polygon * step + np.array([left, top]) for polygon in outline(mask)]


def draw_outline(
    axes: Axes, mask: np.ndarray, extent: tuple[float, float, float, float], color: Color, *, dashed: bool
) -> None:
    """The borders of a mask."""
    for polygon in _polygons(mask, extent):
        draw_line(axes, polygon.tolist(), color, dashed=dashed)


def _hatch(axes: Axes, mask: np.ndarray, extent: tuple[float, float, float, float], hatch: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    if polygons := _polygons(mask, extent):
        path = Path.make_compound_path(*(Path(polygon, closed=True) for polygon in polygons))
        axes.add_patch(PathPatch(path, facecolor="none", edgecolor="black", linewidth=0, hatch=hatch))


def write_sides(axes: Axes, name: str) -> None:
    """L, R, A, P, S, I at the edges of a plane."""
    left, right, top, bottom = SIDES[name]
    label(axes, 0.02, 0.5, left, ha="left")
    label(axes, 0.98, 0.5, right, ha="right")
    label(axes, 0.5, 0.985, top, va="top")
    label(axes, 0.5, 0.02, bottom, va="bottom")


def draw_scale(axes: Axes, window: Window, frame: Frame) -> None:
    """A bar with its length; in pixels where the file has no place, and so perhaps no true spacing."""
    from matplotlib.patches import Rectangle

    width, height = window.right - window.left, window.bottom - window.top
    length = round_length(0.3 * width)
    unit = "mm" if frame.placed else "px"
    x, y = window.left + 0.04 * width, window.bottom - 0.045 * height
    bar = Rectangle((x, y), length, 0.014 * height, facecolor="white", edgecolor="black", linewidth=0.8)
    axes.add_patch(bar)
    label(axes, 0.04, 0.065, f"{length:g} {unit}", ha="left", va="bottom")


def round_length(most: float) -> float:
    """The largest of 1, 2, 5, 10, 20, 50, ... that is at most so long."""
    power = 10.0 ** np.floor(np.log10(most))
    return float(next(step * power for step in (5, 2, 1) if step * power <= most * (1 + 1e-9)))


def side_keys(sides: Sides, grid: Grid) -> list[Key]:
    """What the colors and lines mean, with the sizes in the whole region."""

    def amount(mask: np.ndarray) -> str:
        return size_text(int(np.count_nonzero(mask)), grid)

    reference, prediction = sides.reference, sides.prediction
    if prediction is None:
        return [
            Key(f"reference, {amount(reference)}", BLUE, hatch=FALSE_NEGATIVE),
            Key("outline of the reference", WHITE, "line"),
        ]
    return [
        Key(f"both (TP), {amount(reference & prediction)}", GREEN),
        Key(f"only predicted (FP), {amount(prediction & ~reference)}", VERMILLION, hatch=FALSE_POSITIVE),
        Key(f"only reference (FN), {amount(reference & ~prediction)}", BLUE, hatch=FALSE_NEGATIVE),
        Key("outline of the reference", WHITE, "line"),
        Key("outline of the prediction", YELLOW, "dashes"),
    ]


def size_text(voxels: float, grid: Grid) -> str:
    """A volume in mL, a small one in mm³; in pixels where the file does not say its spacing, as a PNG."""
    mm3 = voxels * math.prod(grid.spacing_mm)
    if not grid.has_affine:
        return f"{voxels:.0f} px" if 1 in grid.shape else f"{voxels:.0f} voxels"
    return f"{mm3 / 1000:.3g} mL" if mm3 >= 1000 else f"{mm3:.3g} mm³"
