"""Uncertainty: a segmentation with an uncertainty map for every region, 0 (certain) to 100."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bratseval.challenge import Challenge, Uncertainty
from bratseval.errors import InputError, Problem
from bratseval.images import LabelImage, read_labels
from bratseval.inputs import find_part, submitted
from bratseval.metrics.filtering import Filtering, filter_by_uncertainty
from bratseval.model import Case, CaseResult, Cell, Reference, Score
from bratseval.nifti import Grid
from bratseval.tasks.measuring import measure, penalized
from bratseval.tasks.placing import on_grid
from bratseval.volumes import Volume, read_volume

POSITIVE = range(1, 256)  # labels that `any` stands for
LOWEST, HIGHEST = 0.0, 100.0
ROUNDING = 1e-3  # granted beyond the ends of the scale


@dataclass(frozen=True, slots=True)
class Truth:
    """Reference labels and brain of a case, both (x, y, z) in Fortran order on one grid."""

    grid: Grid
    labels: np.ndarray
    brain: np.ndarray


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read the reference labels, and the brain: what is above 0 in any image of it. Raises InputError."""
    image = _read_labels(case.reference)
    part = find_part(case.reference_parts, "brain")
    if part is None:
        message = f"{case.reference}: no image beside it tells where the brain is"
        hint = f"expected a name like {challenge.files.reference_parts['brain'][0]}"
        raise InputError(Problem("error", "SUB007", message, hint, file=str(case.reference)))
    lowest = [0.0]

    def above_zero(values: np.ndarray) -> np.ndarray:
        lowest[0] = min(lowest[0], float(values.min()))
        return values > 0

    brain = read_volume(part.path, onto=image.grid, convert=above_zero)
    problems = [*image.notes, *brain.notes]
    if lowest[0] < 0:
        message = f"{part.path}: negative voxels (down to {lowest[0]:g}) count as outside the brain"
        hint = "the official script would let them weigh negatively; give a mask or an image without them"
        problems.append(Problem("warning", "NII016", message, hint, file=str(part.path)))
    truth = Truth(image.grid, _whole(image), brain.values)
    return Reference(truth, tuple(problems), image.grid.shape)


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score every region; one whose map is missing or broken takes its penalty, the rest is scored."""
    path = submitted(case)
    truth: Truth = reference.data
    rules = challenge.uncertainty or Uncertainty()
    image = _read_labels(path)
    problems = [*image.notes, *on_grid(image.grid, truth.grid, path, challenge.geometry)]
    problems += _odd_labels(image, path, challenge)
    labels = _whole(image)
    scores: list[Score] = []
    curves: list[tuple[Cell, ...]] = []
    for region in challenge.scored_regions:
        marked, predicted = (_mask(side, region, challenge) for side in (truth.labels, labels))
        try:
            volume = _map(case, region, truth, challenge, problems)
        except InputError as error:
            problems += error.problems
            scores += penalized(challenge, region, challenge.case_metrics, error, reference.grid_shape)
            continue
        record = filter_by_uncertainty(marked, predicted, volume.values, truth.brain, rules.points)
        scores += measure(challenge, region, challenge.case_metrics, record, _status(marked, predicted))
        curves += _curves(region, record)
    return CaseResult(case, tuple(scores), tuple(problems), details={"curves.csv": tuple(curves)})


def _read_labels(path: Path) -> LabelImage:
    return read_labels(path, POSITIVE, "background")


def _whole(image: LabelImage) -> np.ndarray:
    """Labels on the whole grid."""
    labels = np.zeros(image.grid.shape, np.uint8, order="F")
    box = tuple(slice(a, a + n) for a, n in zip(image.offset, image.labels.shape, strict=True))
    labels[box] = image.labels
    return labels


def _mask(labels: np.ndarray, region: str, challenge: Challenge) -> np.ndarray:
    names = challenge.regions[region].labels
    if "any" in names:
        return labels > 0
    table = np.zeros(256, bool)
    table[[challenge.labels[name] for name in names]] = True
    return table[labels]


def _status(reference: np.ndarray, prediction: np.ndarray) -> str:
    """Whether a side is empty; the official code measures these cases like any other."""
    there = bool(reference.any()), bool(prediction.any())
    empty = {
        (False, False): "empty_both",
        (False, True): "empty_reference",
        (True, False): "empty_prediction",
    }
    return empty.get(there, "ok")


def _map(case: Case, region: str, truth: Truth, challenge: Challenge, problems: list[Problem]) -> Volume:
    """The uncertainty map of a region. Raises InputError where it is missing, broken or out of range."""
    part = find_part(case.prediction_parts, f"uncertainty_{region}")
    if part is None:
        message = f"the uncertainty map of {region} is missing; penalized"
        expected = challenge.files.prediction_parts[f"uncertainty_{region}"][0]
        raise InputError(Problem("warning", "SUB007", message, f"expected a name like {expected}"))
    volume = read_volume(part.path, low=LOWEST - ROUNDING, high=HIGHEST + ROUNDING, onto=truth.grid)
    problems += [*volume.notes, *on_grid(volume.grid, truth.grid, part.path, challenge.geometry)]
    if 0 < volume.values.max() <= 1:
        message = f"{part.path}: no uncertainty is above 1, so only the threshold 0 filters anything"
        problems.append(Problem("warning", "NII017", message, "uncertainty is 0 to 100", file=str(part.path)))
    return volume


def _odd_labels(image: LabelImage, path: Path, challenge: Challenge) -> list[Problem]:
    """A warning for values that are no label of the challenge, saying what they count as."""
    counts = np.bincount(image.labels.ravel(), minlength=256)
    known = {0, *challenge.labels.values()}
    found = [f"{v} ({counts[v]} voxels)" for v in np.flatnonzero(counts).tolist() if v not in known]
    found += [f"{value:g} ({count} voxels, background)" for value, count in sorted(image.unknown.items())]
    if not found:
        return []
    everything = [name for name, region in challenge.regions.items() if "any" in region.labels]
    message = f"{path}: labels {', '.join(found[:10])} are not of this challenge"
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
