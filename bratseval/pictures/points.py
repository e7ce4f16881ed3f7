"""Pictures of a registration: where the landmarks belong, where they were put, and how far off that is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bratseval.errors import InputError
from bratseval.inputs import without_team
from bratseval.pictures.drawers import Drawing, Task, reason_of, unusable_reference, was_unfinished
from bratseval.pictures.page import Key, Panel, label, plain, shortened, style_axes
from bratseval.pictures.panels import round_length, write_sides
from bratseval.pictures.planes import PLANES
from bratseval.tasks import registration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BAD, FAIR, GOOD = "#D55E00", "#E69F00", "#56B4E9"
DARK = "#262626"
LISTED = 12  # landmarks of the list, the worst first


def registration_drawing(task: Task) -> Drawing:
    """Displacements of the landmarks in three projections, and their errors. Raises UsageError."""
    challenge, case = task.challenge, task.case
    rules = challenge.registration_rules
    try:
        truth: registration.Truth = registration.read_reference(without_team(case), challenge).data
    except InputError as error:
        raise unusable_reference(error, case) from None
    notes: list[str] = []
    points: dict[str, list[float]] = {}
    try:
        if lost := was_unfinished(task.record):
            notes.append(f"No prediction is drawn: {lost}")
        else:
            points = registration.submitted_points(case, truth, rules, [])
    except InputError as error:
        notes.append(f"No prediction is drawn: {reason_of(error, task.record)}")
    kept = [index for index, name in enumerate(truth.ids) if name in points]
    alone = not kept
    names = list(truth.ids) if alone else [truth.ids[index] for index in kept]
    reference = truth.reference if alone else truth.reference[kept]
    moving = truth.moving if alone else truth.moving[kept]
    predicted = moving if alone else np.array([points[name] for name in names]).reshape(moving.shape)
    errors = np.linalg.norm(predicted - reference, axis=1)
    before = np.linalg.norm(moving - reference, axis=1)
    flip = np.array([-1.0, -1.0, 1.0])[: reference.shape[1]] if rules.world == "lps" else 1.0
    magnified = _magnification(reference, errors)
    planes = list(PLANES) if reference.shape[1] == 3 else [""]
    further = _second_panel(task, names, before, None if alone else errors)
    panels = [
        Panel(
            name or "plane of the landmarks",
            _projection(reference * flip, predicted * flip, names, errors, name, magnified, scale=at == 0),
        )
        for at, name in enumerate(planes)
    ]
    worst = int(errors.argmax())
    what = "before registration" if alone else "after registration"
    shows = (
        f"errors of {len(names)} landmarks {what}: median {np.median(errors):.3g} mm, "
        f"largest {errors[worst]:.3g} mm (landmark {names[worst]})"
    )
    where = "the moving image has the same place" if alone else "the registration puts it"
    limits = _limits(errors)
    keys = [
        Key("where a landmark belongs", "white", "marker"),
        Key("where it was before" if alone else "where it was put", "#9a9a9a", "cross"),
        Key(f"off by up to {limits[0]:.2g} mm", GOOD),
        Key(f"up to {limits[1]:.2g} mm", FAIR),
        Key(f"more, up to {errors[worst]:.2g} mm", BAD),
    ]
    return Drawing(
        [*panels, further],
        shows,
        f"A line leads from where a landmark belongs to where {where}"
        + (f", {magnified:g} times as long as the error." if magnified != 1 else "."),
        keys,
        [*notes, f"Lines are {magnified:g} times as long as the errors." if magnified != 1 else ""],
        "",
        f"landmark {names[worst]}",
    )


def _magnification(reference: np.ndarray, errors: np.ndarray) -> float:
    """How many times longer than the errors the lines are: the longest is a sixth of the extent."""
    extent = float(np.ptp(reference, axis=0).max()) or 1.0
    most = float(errors.max())
    return max(1.0, round_length(extent / 6 / most)) if most > 0 else 1.0


def _limits(errors: np.ndarray) -> tuple[float, float]:
    """Errors at which the color changes: a third and two thirds of the largest."""
    most = float(errors.max())
    return most / 3, 2 * most / 3


def _colors(errors: np.ndarray) -> list[str]:
    low, high = _limits(errors)
    return [GOOD if error <= low else FAIR if error <= high else BAD for error in errors]


def _projection(
    reference: np.ndarray,
    predicted: np.ndarray,
    names: Sequence[str],
    errors: np.ndarray,
    plane: str,
    magnified: float,
    *,
    scale: bool,
) -> Callable[[Axes], None]:
    """Landmarks seen along one axis. reference, predicted : (n, d), RAS in mm."""
    across, up = [axis for axis in range(reference.shape[1]) if not plane or axis != PLANES.index(plane)]

    def draw(axes: Axes) -> None:
        from matplotlib.collections import LineCollection
        from matplotlib.patches import Rectangle

        flat = reference[:, [across, up]]
        ends = flat + magnified * (predicted - reference)[:, [across, up]]
        colors = _colors(errors)
        axes.add_collection(LineCollection([*np.stack([flat, ends], axis=1)], colors=colors, linewidths=2.4))
        axes.scatter(ends[:, 0], ends[:, 1], s=44, c=colors, marker="X", edgecolors="none", zorder=3)
        axes.scatter(
            flat[:, 0], flat[:, 1], s=40, facecolors="white", edgecolors="black", linewidths=0.8, zorder=4
        )
        everything = np.concatenate([flat, ends])
        low, high = everything.min(axis=0), everything.max(axis=0)
        box = axes.get_window_extent()
        step = 1.3 * max(*((high - low) / (box.width, box.height)), 1e-3)
        middle, half = (low + high) / 2, np.array([box.width, box.height]) * step / 2
        # Toward the patient's left, or back, at the right of the picture.
        axes.set_xlim(middle[0] + half[0], middle[0] - half[0])
        axes.set_ylim(middle[1] - half[1], middle[1] + half[1])
        axes.set_facecolor(DARK)
        axes.set_xticks([])
        axes.set_yticks([])
        worst = int(errors.argmax())
        x, y = axes.transAxes.inverted().transform(axes.transData.transform(flat[worst]))
        place = float(np.clip(x, 0.12, 0.88)), float(np.clip(y + 0.07, 0.1, 0.9))
        label(axes, *place, shortened(plain(names[worst]), 12))
        if plane:
            write_sides(axes, plane)
        if scale:
            width, height = 2 * half
            length = round_length(0.3 * width)
            x, y = middle[0] + half[0] - 0.04 * width, middle[1] - half[1] + 0.03 * height
            axes.add_patch(Rectangle((x - length, y), length, 0.014 * height, facecolor="white"))
            label(axes, 0.04, 0.065, f"{length:g} mm", ha="left", va="bottom")

    return draw


def _second_panel(task: Task, names: Sequence[str], before: np.ndarray, after: np.ndarray | None) -> Panel:
    """The hit-rate curve where the challenge has one, else the errors of the landmarks before and after."""
    curve = [
        (float(at), float(value))
        for region, name, at, value in task.record.details.get("curves.csv", ())
        if name == "hit_rate" and value
    ]
    if curve and after is not None:
        return Panel("hit-rate curve", _hit_rate(sorted(curve)), 1.15, (66, 6, 6, 46))
    return Panel("error by landmark", _errors(names, before, after), 1.15, (52, 6, 6, 46))


def _hit_rate(curve: Sequence[tuple[float, float]]) -> Callable[[Axes], None]:
    def draw(axes: Axes) -> None:
        xs, ys = zip(*curve, strict=True)
        axes.fill_between(xs, ys, color="#56B4E9", alpha=0.35, linewidth=0)
        axes.plot(xs, ys, color="#0072B2", linewidth=2.4)
        axes.set_xlim(0, max(xs))
        axes.set_ylim(0, 1.03)
        style_axes(axes, "radius, mm", "landmarks within")

    return draw


def _errors(names: Sequence[str], before: np.ndarray, after: np.ndarray | None) -> Callable[[Axes], None]:
    shown = np.argsort(-(before if after is None else after), kind="stable")[:LISTED][::-1]

    def draw(axes: Axes) -> None:
        rows = np.arange(len(shown))
        axes.scatter(before[shown], rows, s=46, c="white", edgecolors="#333333", linewidths=1.4, zorder=3)
        if after is not None:
            axes.hlines(rows, before[shown], after[shown], color="#9a9a9a", linewidth=2)
            colors = [_colors(after)[index] for index in shown]
            axes.scatter(after[shown], rows, s=52, c=colors, marker="X", edgecolors="none", zorder=4)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_xlim(left=0)
        style_axes(axes, "mm: o before, x after" if after is not None else "mm, before registration", "")
        axes.set_yticks(rows)
        axes.set_yticklabels([shortened(plain(names[index]), 6) for index in shown])
        for text in axes.get_yticklabels():
            text.set_parse_math(False)

    return draw
