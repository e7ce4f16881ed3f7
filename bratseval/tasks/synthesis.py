"""Synthesis: a synthetic image against the real one, and a segmentation that was made with its help.

Inpainting: the reference is the image, beside it the mask that is compared in and the voided image. BraSyn:
the reference is a segmentation, beside it the image of the missing modality.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from bratseval.blocks import Geometry
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.inputs import example_name, find_part, reference_of, submitted, untold
from bratseval.metrics.intensity import Bounds, Intensity, compare, percentile_bounds
from bratseval.metrics.registry import find_metric
from bratseval.model import Case, CaseResult, Part, Reference, Score
from bratseval.nifti import Grid
from bratseval.policy import by_rule, expected_scores, missing_value, unscored
from bratseval.tasks import segmentation
from bratseval.tasks.marking import mask_of, read_any_labels, whole_grid
from bratseval.tasks.measuring import metrics_reading, penalized
from bratseval.tasks.placing import expected_grid, on_grid, read_map
from bratseval.volumes import Volume, read_volume

MOST = 1e30  # of an intensity: any number of the stored type can be compared with it


@dataclass(frozen=True, slots=True)
class Target:
    """A real image (x, y, z) and its scale, which is the synthetic one's too unless each has its own."""

    values: np.ndarray
    bounds: Bounds


@dataclass(frozen=True, slots=True)
class Truth:
    """The reference side of a case.

    targets : by modality, under an empty name where there is one. mask : bool, what lies outside is compared
    nowhere. labels : uint8 of the whole grid. segmentation : the same, prepared for scores of masks.
    """

    grid: Grid
    targets: Mapping[str, Target]
    mask: np.ndarray | None
    labels: np.ndarray | None
    segmentation: Reference | None


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read the real images with their scale, the mask and the labels. Raises InputError."""
    path = reference_of(case)
    problems: list[Problem] = []
    labels: np.ndarray | None = None
    segmented: Reference | None = None
    if "image" in challenge.files.reference_parts:
        segmented_image = read_any_labels(path, challenge)
        problems += segmented_image.notes
        grid, labels = segmented_image.grid, whole_grid(segmented_image)
        images = {part.region: _on_reference(part.path, grid, problems) for part in _images(case, challenge)}
        if (rules := segmentation_rules(challenge)) is not None:
            segmented = segmentation.read_reference(case, rules)
    else:
        image = read_volume(path, low=-MOST, high=MOST)
        grid, images = image.grid, {"": image}
        problems += image.notes
    mask = _mask(case, challenge, grid, problems)
    targets = {
        name: Target(image.values, _bounds(image.values, mask, case, challenge, grid, problems))
        for name, image in images.items()
    }
    return Reference(Truth(grid, targets, mask, labels, segmented), tuple(problems), grid.shape)


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score image and segmentation; one that is missing or broken takes its penalty, the other is scored."""
    truth: Truth = reference.data
    _anything(case)
    problems: list[Problem] = []
    scores: list[Score] = []
    details = {}
    columns = metrics_reading(challenge, "intensity")
    of_images = {
        region: [column for column in challenge.metrics_of(region) if column in columns]
        for region in challenge.scored_regions
    }
    try:
        modality, image, own = read_synthetic(truth.grid, truth.targets, case, challenge, problems)
    except InputError as error:
        problems += untold(error, case)
        for region, inside in of_images.items():
            scores += penalized(challenge, region, inside, error, reference.grid_shape)
    else:
        target = truth.targets[modality]
        for region, inside in of_images.items():
            if inside:
                marked = region_mask(truth, region, challenge)
                record = compare(target.values, image.values, marked, target.bounds, own)
                scores += _measured(record, region, inside, challenge, truth.grid)
    if truth.segmentation is not None and (rules := segmentation_rules(challenge)) is not None:
        try:
            result = segmentation.score(truth.segmentation, segmented(case, challenge), rules)
        except InputError as error:
            problems += error.problems
            scores += unscored(rules, expected_scores(rules, case), error, reference.grid_shape)
        else:
            problems += result.problems
            scores += result.scores
            details = {table: rows for table, rows in result.details.items() if rows}
    return CaseResult(case, tuple(scores), tuple(problems), details=details)


def expect(case: Case, challenge: Challenge) -> Grid | None:
    """The grid that all files of a case must lie on, as far as it is known. Raises InputError."""
    if case.reference is not None:
        for role in challenge.files.reference_parts:
            _images(case, challenge) if role == "image" else _part(case, challenge, role)
    return expected_grid(case, challenge)


def check(grid: Grid | None, case: Case, challenge: Challenge) -> list[Problem]:
    """What is wrong with the image and with the segmentation."""
    _anything(case)
    problems: list[Problem] = []
    modalities = [part.region for part in case.reference_parts if part.role == "image"]
    try:
        read_synthetic(grid, modalities, case, challenge, problems)
    except InputError as error:
        problems += untold(error, case)
    if (rules := segmentation_rules(challenge)) is not None:
        try:
            problems += segmentation.check(
                segmentation.expect(case, rules), segmented(case, challenge), rules
            )
        except InputError as error:
            problems += error.problems
    return problems


@lru_cache(maxsize=4)
def segmentation_rules(challenge: Challenge) -> Challenge | None:
    """The challenge that the submitted segmentations are, None where no metric reads them."""
    images = metrics_reading(challenge, "intensity")
    metrics = {column: spec for column, spec in challenge.metrics.items() if column not in images}
    regions = {name: region for name, region in challenge.regions.items() if region.of_labels}
    if not metrics:
        return None
    return challenge.model_copy(
        update={"task": "segmentation", "synthesis": None, "metrics": metrics, "regions": regions}
    )


def _anything(case: Case) -> None:
    """Raises InputError where nothing was submitted or all of it is refused."""
    if case.refused or not (case.prediction or case.prediction_parts):
        submitted(case)


def _images(case: Case, challenge: Challenge) -> list[Part]:
    """The real images beside a segmentation. Raises InputError where there is none."""
    found = [part for part in case.reference_parts if part.role == "image"]
    if not found:
        _part(case, challenge, "image")
    return found


def _part(case: Case, challenge: Challenge, role: str) -> Path:
    """A file beside the reference. Raises InputError where it is missing."""
    part = find_part(case.reference_parts, role)
    if part is None:
        message = f"{reference_of(case)}: no {role} lies beside it"
        hint = f"expected a name like {example_name(challenge.files.reference_parts[role][0], case.case)}"
        raise InputError(Problem("error", "SUB007", message, hint, file=str(reference_of(case))))
    return part.path


def _on_reference(path: Path, grid: Grid, problems: list[Problem], *, mask: bool = False) -> Volume:
    """A further image of the reference side; another place is a warning. Raises InputError."""

    def marked(values: np.ndarray) -> np.ndarray:
        return values != 0

    volume = read_volume(path, low=-MOST, high=MOST, onto=grid, convert=marked if mask else np.asarray)
    problems += [*volume.notes, *on_grid(volume.grid, grid, path, Geometry(policy="ignore"))]
    return volume


def _mask(case: Case, challenge: Challenge, grid: Grid, problems: list[Problem]) -> np.ndarray | None:
    """The mask that is compared in, None where the challenge has none. Raises InputError for an empty one."""
    if "mask" not in challenge.files.reference_parts:
        return None
    path = _part(case, challenge, "mask")
    mask = _on_reference(path, grid, problems, mask=True).values
    if not mask.any():
        message, hint = f"{path}: the mask is empty, so there is nothing to compare", "repair the mask"
        raise InputError(Problem("error", "NII019", message, hint, file=str(path)))
    return mask


def _bounds(
    values: np.ndarray,
    mask: np.ndarray | None,
    case: Case,
    challenge: Challenge,
    grid: Grid,
    problems: list[Problem],
) -> Bounds:
    """The scale of a real image. Raises InputError where it has none."""
    path = reference_of(case)
    scale = challenge.synthesis_rules.scale
    if scale == "void":
        path = _part(case, challenge, "void")
        values = _on_reference(path, grid, problems).values
    elif scale == "outside_mask":
        assert mask is not None  # the configuration was checked
        values = np.where(mask, 0, values)
    return _own_bounds(values, path)


def _own_bounds(values: np.ndarray, path: Path) -> Bounds:
    bounds = percentile_bounds(values)
    if not bounds.low < bounds.high:
        message = f"{path}: the image has no range (0.5 and 99.5 percentile: {bounds.low:g}, {bounds.high:g})"
        raise InputError(Problem("error", "NII019", message, "check its intensities", file=str(path)))
    return bounds


def read_synthetic(
    grid: Grid | None,
    modalities: Mapping[str, Target] | list[str],
    case: Case,
    challenge: Challenge,
    problems: list[Problem],
) -> tuple[str, Volume, Bounds | None]:
    """Modality and values of the synthetic image, and its scale where it has its own. Raises InputError."""
    part = _submitted_image(case)
    if part.region and modalities and part.region not in modalities:
        message = f"{part.path}: {part.region} was not missing in this case"
        hint = f"expected {' or '.join(modalities)}"
        raise InputError(Problem("error", "SUB017", message, hint, file=str(part.path)))
    if part.region and len(modalities) > 1:
        message = f"the references hold {', '.join(modalities)}; {part.region} was submitted, so it is scored"
        problems.append(Problem("note", "SUB017", message, "keep one reference image a case"))
    volume, found = read_map(part.path, grid, challenge.geometry, low=-MOST, high=MOST, rounding=0)
    problems += found
    each = challenge.synthesis_rules.scale == "each"
    return part.region, volume, _own_bounds(volume.values, part.path) if each else None


def _submitted_image(case: Case) -> Part:
    """The one synthetic image of a case. Raises InputError."""
    parts = [part for part in case.prediction_parts if not part.role]
    if not parts:
        return Part("", submitted(case))
    if len(parts) > 1:
        names = ", ".join(part.path.name for part in parts)
        message, hint = f"{len(parts)} images are submitted for one case: {names}", "submit the missing one"
        raise InputError(Problem("error", "SUB002", message, hint, file=str(parts[0].path)))
    if parts[0].refused:
        raise InputError(parts[0].refused)
    return parts[0]


def segmented(case: Case, challenge: Challenge) -> Case:
    """The case with its segmentation as the prediction. Raises InputError where it is missing."""
    part = find_part(case.prediction_parts, "segmentation")
    if part is None:
        name = example_name(challenge.files.prediction_parts["segmentation"][0], case.case)
        message, hint = "the segmentation is missing; penalized", f"expected a name like {name}"
        raise InputError(Problem("warning", "SUB007", message, hint))
    return replace(case, prediction=part.path, prediction_parts=())


def region_mask(truth: Truth, name: str, challenge: Challenge) -> np.ndarray:
    """The voxels of a region, bool."""
    region = challenge.regions.get(name)
    marked = np.ones(truth.grid.shape, bool, order="F") if truth.mask is None else truth.mask
    if region is None or not region.labels or truth.labels is None:
        return marked
    return marked & mask_of(truth.labels, name, challenge)


def _measured(
    record: Intensity, region: str, columns: list[str], challenge: Challenge, grid: Grid
) -> list[Score]:
    """Values of a region; none is worse than that of a missing image, lest handing in nothing pays."""
    scores: list[Score] = []
    for column in columns:
        spec = challenge.metrics[column]
        entry = find_metric(spec.metric)[1]
        if not record.size:
            scores.append(by_rule(region, column, spec.empty_both, "not_applicable", "the region is empty"))
            continue
        measured = entry.measure(record, spec.parameters)
        worst = missing_value(spec, grid.shape)
        value, reason = measured, ""
        if worst is not None and (measured > worst if entry.smaller_is_better else measured < worst):
            value, reason = worst, "worse than a missing image, whose value it takes"
        scores.append(Score(region, column, value, measured, "ok", reason))
    return scores
