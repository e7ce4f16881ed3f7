"""Uncertainty: a segmentation with an uncertainty map for every region, 0 (certain) to 100."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bratseval.blocks import Geometry, Uncertainty
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.images import LabelImage
from bratseval.inputs import example_name, find_part, reference_of, submitted
from bratseval.metrics.filtering import Filtering, filter_by_uncertainty
from bratseval.model import Case, CaseResult, Cell, Reference, Score
from bratseval.nifti import Grid
from bratseval.tasks.marking import POSITIVE, mask_of, read_any_labels, whole_grid
from bratseval.tasks.measuring import measure, penalized
from bratseval.tasks.placing import expected_grid, on_grid, read_map, read_on_grid
from bratseval.volumes import Volume, read_volume

LOWEST, HIGHEST = 0.0, 100.0
ROUNDING = 1e-3  # granted beyond the ends of the scale


@dataclass(frozen=True, slots=True)
class Truth:
    """Reference labels (uint8) and brain (bool) of every voxel of a case, flat in the order of the file."""

    grid: Grid
    labels: np.ndarray
    brain: np.ndarray


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read the reference labels, and the brain: what is above 0 in any image of it. Raises InputError."""
    path = reference_of(case)
    image = read_any_labels(path, challenge)
    part = find_part(case.reference_parts, "brain")
    if part is None:
        message = f"{path}: no image beside it tells where the brain is"
        hint = f"expected a name like {example_name(challenge.files.reference_parts['brain'][0], case.case)}"
        raise InputError(Problem("error", "SUB007", message, hint, file=str(path)))
    lowest = [0.0]

    def above_zero(values: np.ndarray) -> np.ndarray:
        lowest[0] = min(lowest[0], float(values.min()))
        return values > 0

    brain = read_volume(part.path, onto=image.grid, convert=above_zero)
    problems = [*image.notes, *brain.notes, *_odd_labels(image, path, challenge)]
    problems += on_grid(brain.grid, image.grid, part.path, Geometry(policy="ignore"))
    if lowest[0] < 0:
        message = f"{part.path}: negative voxels (down to {lowest[0]:g}) count as outside the brain"
        hint = "the official script would let them weigh negatively; give a mask or an image without them"
        problems.append(Problem("warning", "NII016", message, hint, file=str(part.path)))
    truth = Truth(image.grid, whole_grid(image).ravel(order="K"), brain.values.ravel(order="K"))
    return Reference(truth, tuple(problems), image.grid.shape)


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score every region; one whose map is missing or broken takes its penalty, the rest is scored."""
    truth: Truth = reference.data
    rules = challenge.uncertainty or Uncertainty()
    problems: list[Problem] = []
    image = read_segmentation(truth.grid, case, challenge, problems)
    labels = whole_grid(image).ravel(order="K")
    # What neither side marks and lies outside the brain counts nowhere.
    voxels = np.flatnonzero(truth.brain | (truth.labels > 0) | (labels > 0))
    brain, sides = truth.brain[voxels], (truth.labels[voxels], labels[voxels])
    scores: list[Score] = []
    curves: list[tuple[Cell, ...]] = []
    for region in challenge.scored_regions:
        marked, predicted = (mask_of(side, region, challenge) for side in sides)
        try:
            volume = _map(case, region, truth.grid, challenge, problems)
        except InputError as error:
            problems += error.problems
            scores += penalized(challenge, region, challenge.metrics_of(region), error, reference.grid_shape)
            continue
        record = filter_by_uncertainty(
            marked, predicted, volume.values.ravel(order="K")[voxels], brain, rules.points
        )
        scores += measure(challenge, region, challenge.metrics_of(region), record, _status(marked, predicted))
        curves += _curves(region, record)
    return CaseResult(case, tuple(scores), tuple(problems), details={"curves.csv": tuple(curves)})


def expect(case: Case, challenge: Challenge) -> Grid | None:
    """The grid that all files of a case must lie on, as far as it is known. Raises InputError."""
    return expected_grid(case, challenge)


def check(grid: Grid | None, case: Case, challenge: Challenge) -> list[Problem]:
    """What is wrong with the segmentation and with the map of every region."""
    submitted(case)
    problems: list[Problem] = []
    try:
        image = read_segmentation(grid, case, challenge, problems)
        grid = grid or image.grid  # its own maps have to share it
    except InputError as error:
        problems += error.problems
    for region in challenge.scored_regions:
        try:
            _map(case, region, grid, challenge, problems)
        except InputError as error:
            problems += error.problems
    return problems


def read_segmentation(
    grid: Grid | None, case: Case, challenge: Challenge, problems: list[Problem]
) -> LabelImage:
    """The submitted labels. Raises InputError."""
    path = submitted(case)
    image, found, _ = read_on_grid(
        lambda judge: read_any_labels(path, challenge, judge),
        grid,
        path,
        challenge.geometry,
        odd=lambda image: _odd_labels(image, path, challenge),
    )
    problems += found
    return image


def _status(reference: np.ndarray, prediction: np.ndarray) -> str:
    """Whether a side is empty; the official code measures these cases like any other."""
    there = bool(reference.any()), bool(prediction.any())
    empty = {
        (False, False): "empty_both",
        (False, True): "empty_reference",
        (True, False): "empty_prediction",
    }
    return empty.get(there, "ok")


def _map(case: Case, region: str, grid: Grid | None, challenge: Challenge, problems: list[Problem]) -> Volume:
    """The uncertainty map of a region. Raises InputError where it is missing, broken or out of range."""
    part = find_part(case.prediction_parts, f"uncertainty_{region}")
    if part is None:
        message = f"the uncertainty map of {region} is missing; penalized"
        name = example_name(challenge.files.prediction_parts[f"uncertainty_{region}"][0], case.case)
        raise InputError(Problem("warning", "SUB007", message, f"expected a name like {name}"))
    volume, found = read_map(part.path, grid, challenge.geometry, low=LOWEST, high=HIGHEST, rounding=ROUNDING)
    problems += found
    if 0 < volume.values.max() <= 1:
        message = f"{part.path}: no uncertainty is above 1, so only the threshold 0 filters anything"
        problems.append(Problem("warning", "NII017", message, "uncertainty is 0 to 100", file=str(part.path)))
    return volume


def _odd_labels(image: LabelImage, path: Path, challenge: Challenge) -> list[Problem]:
    """A warning for values that are no label of the challenge, or InputError where they refuse the file."""
    counts = np.bincount(image.labels.ravel(), minlength=256)
    known = {0, *challenge.labels.values()}
    strange = [value for value in np.flatnonzero(counts).tolist() if value not in known]
    more = {POSITIVE[-1]: f"{POSITIVE[-1]} or more"}
    found = [f"{more.get(value, value)} ({counts[value]} voxels)" for value in strange]
    found += [f"{value:g} ({count} voxels)" for value, count in sorted(image.unknown.items())]
    if not found:
        return []
    everything = [name for name, region in challenge.regions.items() if "any" in region.labels]
    message = f"{path}: labels {', '.join(found[:10])} are not of this challenge"
    if challenge.unknown_labels == "refuse":
        raise InputError(Problem("error", "LBL001", message, "export with its labels", file=str(path)))
    counted = f"positive ones count in {', '.join(everything) or 'no region'}, nowhere else"
    return [Problem("warning", "LBL001", message, counted, file=str(path))]


def _curves(region: str, record: Filtering) -> list[tuple[Cell, ...]]:
    """Rows of curves.csv, thresholds from 100 down to 0 as the official table has them."""
    named = {"dice": record.dice, "ftp_ratio": record.ftp_ratio, "ftn_ratio": record.ftn_ratio}
    return [
        (region, name, float(threshold), float(value))
        for name, curve in named.items()
        for threshold, value in zip(record.thresholds[::-1], curve[::-1], strict=True)
    ]
