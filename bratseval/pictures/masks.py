"""Pictures of masks: segmentation, and segmentation with uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import InputError
from bratseval.inputs import find_part, reference_of, without_team
from bratseval.lesions import Lesions
from bratseval.metrics.registry import find_metric
from bratseval.nifti import Grid
from bratseval.pictures.choice import (
    LesionFacts,
    bounds,
    component_with,
    heaviest_planes,
    largest_component,
    shown_metrics,
    worst_lesion,
)
from bratseval.pictures.drawers import (
    Drawing,
    Task,
    read_anatomy,
    reason_of,
    regions_in_order,
    unusable_reference,
    was_unfinished,
)
from bratseval.pictures.page import Panel, plain, style_axes
from bratseval.pictures.panels import (
    Anatomy,
    Shown,
    Sides,
    anatomy_of,
    side_keys,
    side_panels,
    size_text,
)
from bratseval.pictures.planes import frame_of
from bratseval.regions import Prepared, RegionPair
from bratseval.tasks import segmentation, uncertainty
from bratseval.tasks.marking import mask_of, read_any_labels, whole_grid
from bratseval.volumes import read_volume

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")

HOW = (
    "Where the dashed outline of the prediction leaves the solid one of the reference, voxels are colored "
    "and hatched: stripes are only predicted, dots were missed."
)
ALONE = "Only the reference is drawn, since there is no usable prediction."
NOTHING = "nothing is marked on either side"


class Look(NamedTuple):
    """What the planes go through (x, y, z), what that belongs to, and how it is called."""

    target: np.ndarray
    near: np.ndarray
    text: str
    through: np.ndarray | None = None  # what all planes meet


def segmentation_drawing(task: Task, anatomy: Anatomy | None = None) -> Drawing:
    """Three planes through the worst lesion of the worst region. Raises UsageError."""
    challenge = task.challenge
    try:
        reference: Prepared = segmentation.read_reference(without_team(task.case), challenge).data
    except InputError as error:
        raise unusable_reference(error, task.case) from None
    prediction, why = _prediction(
        task, lambda: segmentation.read_prediction(reference.grid, task.case, challenge)[0]
    )
    notes = [why] if why else []
    if task.image is not None:
        anatomy, note = read_anatomy(task.image, reference.grid)
        notes += [note] if note else []
    names = regions_in_order(task, [name for name in challenge.scored_regions if name])
    for name in names:
        found = _found(reference, prediction, name, challenge, task)
        if found is not None or name == names[-1]:
            break
    region = name if found is not None else names[0]
    if found is None:
        nothing = np.zeros((1, 1, 1), bool)
        sides = Sides(nothing, None if prediction is None else nothing, (0, 0, 0), reference.grid.shape)
        found = sides, Look(~nothing, ~nothing, NOTHING)
    return _of_sides(*found, region, reference.grid, anatomy, notes)


def uncertainty_drawing(task: Task) -> Drawing:
    """Three planes through the largest error, and the curves of the region. Raises UsageError."""
    challenge = task.challenge
    try:
        image = read_any_labels(reference_of(task.case), challenge)
        grid = image.grid
        anatomy: Anatomy | None = None
        note = ""
        if task.image is not None:
            anatomy, note = read_anatomy(task.image, grid)
        elif part := find_part(task.case.reference_parts, "brain"):
            anatomy = anatomy_of(read_volume(part.path, onto=grid).values)
    except InputError as error:
        raise unusable_reference(error, task.case) from None
    submitted, why = _prediction(task, lambda: uncertainty.read_segmentation(grid, task.case, challenge, []))
    labels = whole_grid(image)
    predicted = None if submitted is None else whole_grid(submitted)
    names = regions_in_order(task, challenge.scored_regions)
    region, sides = names[0], Sides(np.zeros((1, 1, 1), bool), None, (0, 0, 0), grid.shape)
    for name in names:
        one = mask_of(labels, name, challenge)
        other = None if predicted is None else mask_of(predicted, name, challenge)
        if one.any() or (other is not None and other.any()) or name == names[-1]:
            region, sides = name, Sides(one, other, (0, 0, 0), grid.shape)
            break
    look = _largest_error(sides, grid)
    curves = _curves(task, region)
    further = [Panel("metrics against the threshold", curves, 1.25, (58, 4, 6, 46))] if curves else []
    drawing = _of_sides(sides, look, region, grid, anatomy, [t for t in (why, note) if t], further)
    how = " The curves count only voxels whose uncertainty is at most the threshold." if curves else ""
    return replace(drawing, how=drawing.how + how)


def _prediction(task: Task, read: Callable[[], T]) -> tuple[T | None, str]:
    """What was submitted, or None and why."""
    if lost := was_unfinished(task.record):
        return None, f"No prediction is drawn: {lost}"
    try:
        return read(), ""
    except InputError as error:
        return None, f"No prediction is drawn: {reason_of(error, task.record)}"


def _of_sides(
    sides: Sides,
    look: Look,
    region: str,
    grid: Grid,
    anatomy: Anatomy | None,
    notes: Sequence[str],
    further: Sequence[Panel] = (),
) -> Drawing:
    """Planes through what to look at, in the box of the sides."""
    frame = frame_of(grid)
    x, y, z = (
        at + start for at, start in zip(heaviest_planes(look.target, look.through), sides.offset, strict=True)
    )
    box, around = (
        tuple((a + start, b + start) for (a, b), start in zip(bounds(mask), sides.offset, strict=True))
        for mask in (look.target, look.near)
    )
    shown = Shown(frame, (x, y, z), box, grid.spacing_mm, around)
    panels = side_panels(shown, sides, anatomy, [panel.slots for panel in further])
    return Drawing(
        [*panels, *further],
        f"{region}: {look.text}",
        HOW if sides.prediction is not None else ALONE,
        side_keys(sides, grid),
        notes,
        region,
        look.text,
        shown.planes,
    )


def _found(
    reference: Prepared, prediction: Prepared | None, region: str, challenge: Challenge, task: Task
) -> tuple[Sides, Look] | None:
    """Both sides of a region and what to look at; None where both are empty."""
    grid = reference.grid
    if prediction is None:
        lesions, whole = reference.region(region)
        if not whole.numbers.size:
            return None
        low, high = _common([whole, lesions], grid)
        sides = Sides(_pasted(whole, low, high) > 0, None, low, grid.shape)
        return sides, _largest_error(sides, grid)
    pair = RegionPair(reference, prediction, region, challenge)
    wholes = [pair.reference_whole, pair.prediction_whole]
    if not any(one.numbers.size for one in wholes):
        return None
    low, high = _common([*wholes, pair.reference_lesions, pair.prediction_lesions], grid)
    one, other = (_pasted(whole, low, high) > 0 for whole in wholes)
    sides = Sides(one, other, low, grid.shape)
    worst = worst_lesion(_facts(pair)) if _counts_lesions(challenge, region, task) else None
    if worst is None:
        return sides, _largest_error(sides, grid)
    return sides, _look_at(pair, worst, low, high)


def _counts_lesions(challenge: Challenge, region: str, task: Task) -> bool:
    """Whether lesions, and not only whole masks, are ranked in a region."""
    shown = set(shown_metrics(challenge, task.record.scores)) & set(challenge.metrics_of(region))
    levels = {find_metric(challenge.metrics[name].metric)[0] for name in shown}
    return bool(levels - {"image"}) or any(region in spec.pooled for spec in challenge.metrics.values())


def _facts(pair: RegionPair) -> list[LesionFacts]:
    """The lesions that count on both sides."""
    sizes = pair.prediction_lesions.sizes
    found = [
        LesionFacts("found" if one.partners.size else "missed", one.number, one.voxels, one.dice)
        for one in pair.counted
    ]
    return found + [LesionFacts("spurious", int(number), int(sizes[number])) for number in pair.spurious]


def _look_at(
    pair: RegionPair, worst: LesionFacts, low: tuple[int, int, int], high: tuple[int, int, int]
) -> Look:
    """The worst lesion of a region; of a found one the errors."""
    found = sum(1 for lesion in pair.counted if lesion.partners.size)
    missed, spurious = len(pair.counted) - found, pair.spurious.size
    counts = f"(lesions: {found} found (TP), {spurious} spurious (FP), {missed} missed (FN))"
    size = size_text(worst.voxels, pair.grid)
    if worst.kind == "spurious":
        mask = _pasted(pair.prediction_lesions, low, high) == worst.number
        return Look(mask, mask, f"the largest spurious lesion, {size} {counts}")
    mask = _pasted(pair.reference_lesions, low, high) == worst.number
    if worst.kind == "missed":
        return Look(mask, mask, f"the largest missed lesion, {size} {counts}")
    partners = next(lesion.partners for lesion in pair.lesions if lesion.number == worst.number)
    predicted = np.isin(_pasted(pair.prediction_lesions, low, high), partners)
    errors = mask ^ predicted
    text = f"the found lesion of the smallest Dice, {worst.dice:.3f}, {size} {counts}"
    return Look(errors if errors.any() else mask, mask | predicted, text, mask & predicted)


def _largest_error(sides: Sides, grid: Grid) -> Look:
    """The largest connected part that only one side marks; the largest of all where there is no error."""
    reference, prediction = sides.reference, sides.prediction
    if prediction is None:
        largest = largest_component(reference)
        if largest is None:
            return Look(reference, reference, NOTHING)
        return Look(
            largest[1], largest[1], f"the largest part of the reference, {size_text(largest[1].sum(), grid)}"
        )
    error = largest_component(reference & ~prediction, prediction & ~reference)
    if error is None:
        largest = largest_component(reference)
        part = reference if largest is None else largest[1]
        return Look(part, part, NOTHING if largest is None else "no error")
    which = "was missed" if error[0] == 0 else "is not in the reference"
    near = component_with(reference | prediction, error[1])
    return Look(error[1], near, f"the largest part that {which}, {size_text(error[1].sum(), grid)}")


def _common(lesions: Sequence[Lesions], grid: Grid) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """The part of the grid that some crops cover together: first voxel, and the one after the last."""
    there = [one for one in lesions if one.labels.size and one.numbers.size] or list(lesions)
    low = [max(0, min(one.offset[axis] for one in there)) for axis in range(3)]
    high = [
        min(grid.shape[axis], max(one.offset[axis] + one.labels.shape[axis] for one in there))
        for axis in range(3)
    ]
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _pasted(lesions: Lesions, low: tuple[int, int, int], high: tuple[int, int, int]) -> np.ndarray:
    """Lesion numbers in a part of the grid."""
    numbers = np.zeros([stop - start for start, stop in zip(low, high, strict=True)], lesions.labels.dtype)
    here, there = [], []
    for axis in range(3):
        start = max(low[axis], lesions.offset[axis])
        stop = max(start, min(high[axis], lesions.offset[axis] + lesions.labels.shape[axis]))
        here.append(slice(start - low[axis], stop - low[axis]))
        there.append(slice(start - lesions.offset[axis], stop - lesions.offset[axis]))
    numbers[tuple(here)] = lesions.labels[tuple(there)]
    return numbers


_STYLES = {
    "dice": ("#0072B2", "solid"),
    "ftp_ratio": ("#D55E00", "dashed"),
    "ftn_ratio": ("#009E73", "dotted"),
}
_NAMES = {"dice": "Dice", "ftp_ratio": "filtered TP", "ftn_ratio": "filtered TN"}


def _curves(task: Task, region: str) -> Callable[[Axes], None] | None:
    """The curves of a region over the threshold of uncertainty."""
    points: dict[str, list[tuple[float, float]]] = {}
    for own, curve, at, value in task.record.details.get("curves.csv", ()):
        if own == region and value:
            points.setdefault(curve, []).append((float(at), float(value)))
    if not points:
        return None

    def draw(axes: Axes) -> None:
        for name, line in points.items():
            color, style = _STYLES.get(name, ("#000000", "solid"))
            xs, ys = zip(*sorted(line), strict=True)
            label = plain(_NAMES.get(name, name))
            axes.plot(xs, ys, color=color, linestyle=style, linewidth=2.2, label=label)
        style_axes(axes, "uncertainty threshold", "")
        axes.set_xlim(0, 100)
        axes.set_ylim(-0.03, 1.03)
        legend = axes.legend(fontsize=15 * 0.72, loc="best", frameon=True, handlelength=2.2)
        for text in legend.get_texts():
            text.set_parse_math(False)

    return draw
