"""Pictures of synthesis: the real image, the synthetic one and their difference where they are compared."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bratseval.errors import InputError
from bratseval.inputs import without_team
from bratseval.metrics.registry import find_metric
from bratseval.pictures.choice import bounds, heaviest_planes
from bratseval.pictures.drawers import (
    Drawing,
    Task,
    reason_of,
    regions_in_order,
    unusable_reference,
    was_unfinished,
)
from bratseval.pictures.masks import segmentation_drawing
from bratseval.pictures.page import Key, Panel
from bratseval.pictures.panels import (
    WHITE,
    Shown,
    anatomy_of,
    values_drawing,
)
from bratseval.pictures.planes import frame_of, visible_planes
from bratseval.tasks import synthesis

BRIGHTER, DARKER, DIFFERENCE = "#b35806", "#542788", "PuOr_r"
HOW = "Both images are shown on the scale on which they are scored; white in the difference is none."


@dataclass(frozen=True, slots=True)
class Compared:
    """Both images of a region on their scale, 0 to 1, and their difference in the mask (x, y, z).

    synthetic and difference are None where there is no usable image.
    """

    real: np.ndarray
    synthetic: np.ndarray | None
    difference: np.ndarray | None
    mask: np.ndarray
    modality: str
    why: str


def synthesis_drawing(task: Task) -> Drawing:
    """Real image, synthetic image and difference through the region, or its masks. Raises UsageError."""
    try:
        truth: synthesis.Truth = synthesis.read_reference(without_team(task.case), task.challenge).data
    except InputError as error:
        raise unusable_reference(error, task.case) from None
    region = regions_in_order(task, task.challenge.scored_regions)[0]
    if _has_masks(task, region):
        return _of_masks(task, truth, region)
    return _of_images(_compared(task, truth, region), truth, region)


def _has_masks(task: Task, region: str) -> bool:
    """Whether a score of a region is one of masks, not of the image."""
    metrics = {score.metric for score in task.record.scores if score.region == region}
    known = (task.challenge.metrics[name].metric for name in metrics if name in task.challenge.metrics)
    return any(find_metric(name)[1].reads != "intensity" for name in known)


def _of_masks(task: Task, truth: synthesis.Truth, region: str) -> Drawing:
    """The submitted segmentation on the real image."""
    rules = synthesis.segmentation_rules(task.challenge)
    assert rules is not None  # a score says that there are masks
    scores = tuple(score for score in task.record.scores if score.region in rules.regions)
    try:
        case = synthesis.segmented(task.case, task.challenge)
    except InputError as error:
        case = replace(task.case, prediction=None, refused=error.problems, prediction_parts=())
    own = replace(task, challenge=rules, case=case, region=region, record=replace(task.record, scores=scores))
    return segmentation_drawing(own, anatomy_of(next(iter(truth.targets.values())).values))


def _compared(task: Task, truth: synthesis.Truth, region: str) -> Compared:
    mask = synthesis.region_mask(truth, region, task.challenge)
    modality, why = next(iter(truth.targets)), ""
    synthetic: np.ndarray | None = None
    try:
        if lost := was_unfinished(task.record):
            why = f"No synthetic image is drawn: {lost}"
        else:
            modality, volume, own = synthesis.read_synthetic(
                truth.grid, truth.targets, task.case, task.challenge, []
            )
            bounds_of = own or truth.targets[modality].bounds
            synthetic = _scaled(volume.values, bounds_of.low, bounds_of.high)
    except InputError as error:
        why = f"No synthetic image is drawn: {reason_of(error, task.record)}"
    target = truth.targets[modality]
    real = _scaled(target.values, target.bounds.low, target.bounds.high)
    difference = None if synthetic is None else np.where(mask, synthetic - real, np.float32(0))
    return Compared(real, synthetic, difference, mask, modality, why)


def _scaled(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return ((values.astype(np.float64) - low) / (high - low)).astype(np.float32)


def _of_images(images: Compared, truth: synthesis.Truth, region: str) -> Drawing:
    """Panels of one plane, and the difference in a second one where the image has several."""
    frame, mask, difference = frame_of(truth.grid), images.mask, images.difference
    there = difference is not None and bool(difference.any())
    indices = heaviest_planes(np.abs(difference) if difference is not None and there else mask)
    shown = Shown(frame, indices, bounds(mask), truth.grid.spacing_mm)
    planes = visible_planes(frame)
    first, second = planes[-1], planes[-2] if len(planes) > 1 else ""
    parts = [(f"real image, {first} plane {shown.index(first)}", first, images.real)]
    if images.synthetic is not None and difference is not None:
        parts += [("synthetic image", first, images.synthetic), ("difference", first, difference)]
    if second:
        values, what = (images.real, "real image") if difference is None else (difference, "difference")
        parts.append((f"{what}, {second} {shown.index(second)}", second, values))
    windows = shown.windows([1.0] * len(parts))
    most = float(np.abs(difference).max()) if difference is not None and there else 1.0
    panels = [
        Panel(
            title,
            values_drawing(
                *(shown, values, name, windows[name]),
                (DIFFERENCE, -most, most) if values is difference else ("gray", 0, 1.1),
                outlined=None if mask.all() else mask,
                scale=at == 0,
            ),
        )
        for at, (title, name, values) in enumerate(parts)
    ]
    keys = [] if mask.all() else [Key("outline of where the images are compared", WHITE, "line")]
    if difference is not None:
        keys += [
            Key(f"synthetic brighter, up to {100 * float(difference.max()):.0f}% of the range", BRIGHTER),
            Key(f"synthetic darker, up to {-100 * float(difference.min()):.0f}% of the range", DARKER),
        ]
    what = "the planes with the largest difference" if there else "the planes with most of the region"
    named = [name for name in (region, images.modality) if name]
    return Drawing(
        panels,
        f"{', '.join(named)}: {what}" if named else what,
        HOW,
        keys,
        [images.why] if images.why else [],
        region,
        "",
        {name: index for name, index in shown.planes.items() if name in (first, second)},
    )
