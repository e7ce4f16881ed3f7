"""Pictures of several raters: how many of them agree, what was predicted, and the difference."""

from __future__ import annotations

import numpy as np

from bratseval.errors import InputError
from bratseval.inputs import without_team
from bratseval.nifti import Grid
from bratseval.pictures.choice import bounds, heaviest_planes
from bratseval.pictures.drawers import (
    Drawing,
    Task,
    reason_of,
    regions_in_order,
    unusable_reference,
    was_unfinished,
)
from bratseval.pictures.page import Key, Panel
from bratseval.pictures.panels import Shown, values_drawing
from bratseval.pictures.planes import PLANES, frame_of, visible_planes
from bratseval.tasks import multi_rater

AGREEMENT, DIFFERENCE = "cividis", "PuOr_r"


def rater_drawing(task: Task) -> Drawing:
    """Agreement of the raters, predicted probability, difference. Raises UsageError."""
    challenge, case = task.challenge, task.case
    try:
        by_region: dict[str, tuple[Grid, np.ndarray]] = multi_rater.read_reference(
            without_team(case), challenge
        ).data
    except InputError as error:
        raise unusable_reference(error, case) from None
    region = regions_in_order(task, [*by_region])[0]
    grid, masks = by_region[region]
    agreement = masks.mean(axis=0, dtype=np.float64)
    notes: list[str] = []
    predicted: np.ndarray | None = None
    try:
        if lost := was_unfinished(task.record):
            notes.append(f"No prediction is drawn: {lost}")
        else:
            volume = multi_rater.read_submitted(case, region, grid, challenge, [])
            predicted = np.clip(volume.values.astype(np.float64), 0, 1)
    except InputError as error:
        notes.append(f"No prediction is drawn: {reason_of(error, task.record)}")
    difference = None if predicted is None else predicted - agreement
    weight = agreement if difference is None or not difference.any() else np.abs(difference)
    marked = (agreement > 0) | (weight > 0.05)
    frame = frame_of(grid)
    shown = Shown(frame, heaviest_planes(weight), bounds(marked), grid.spacing_mm)
    name = _plane_of_most_detail(shown)
    volumes = [(f"{len(masks)} raters", agreement, AGREEMENT, 0.0)]
    if predicted is not None and difference is not None:
        volumes += [
            ("prediction", predicted, AGREEMENT, 0.0),
            ("difference", difference, DIFFERENCE, -1.0),
        ]
    slots = [1.0] * 3
    window = shown.windows(slots, [name])[name]

    place = f"{name} plane {shown.index(name)}" if len(visible_planes(frame)) > 1 else ""
    panels = [
        Panel(title, values_drawing(shown, values, name, window, (colors, low, 1), scale=at == 0))
        for at, (title, values, colors, low) in enumerate(volumes)
    ]
    keys = [
        Key("no rater marks it", "#00224e"),
        Key("half of them", "#7d7c78"),
        Key("all of them", "#fee838"),
    ]
    if difference is not None:
        keys = [
            Key("0: no rater, or not predicted", "#00224e"),
            Key("1: all raters, or certain", "#fee838"),
            Key("predicted more than the raters", "#b35806"),
            Key("predicted less than the raters", "#542788"),
        ]
    shows = ", ".join(filter(None, ("share of the raters that mark a voxel against the prediction", place)))
    return Drawing(
        panels if predicted is not None else [Panel(panels[0].title, panels[0].draw, 1.0)],
        f"{region}: {shows}",
        "A perfect prediction looks like the raters' agreement, and the difference is then white.",
        keys,
        notes,
        region,
        "",
        {name: shown.index(name)},
    )


def _plane_of_most_detail(shown: Shown) -> str:
    """The plane that has most voxels; of equal ones the axial."""
    frame = shown.frame

    def voxels(name: str) -> int:
        axis = PLANES.index(name)
        return frame.shape[(axis + 1) % 3] * frame.shape[(axis + 2) % 3]

    return max(reversed(visible_planes(frame)), key=voxels)
