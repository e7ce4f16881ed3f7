"""Segmentation: label images to lesions, and what the measurements of a region are worth.

`RegionPair` measures; the functions here turn its records into scores: a metric's value where there
is something to measure, else the value of the rule that applies, with a status that says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bratseval.blocks import MetricSpec
from bratseval.challenge import Challenge
from bratseval.errors import Problem
from bratseval.images import LabelImage, read_labels, remap_labels
from bratseval.inputs import reference_of, submitted
from bratseval.metrics.overlap import Overlap
from bratseval.metrics.pooled import OF_LESIONS, of_burden, of_masks
from bratseval.metrics.registry import Metric, find_metric
from bratseval.model import Case, CaseResult, Cell, Reference, Score
from bratseval.nifti import Grid
from bratseval.policy import by_rule, resolve_penalty
from bratseval.regions import LesionMatch, Prepared, RegionPair, prepare
from bratseval.resample import resample_nearest
from bratseval.tasks.placing import expected_grid, read_on_grid


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read and prepare the reference labels. Raises InputError."""
    image = _read(reference_of(case), challenge)
    return Reference(prepare(image, challenge, "reference"), image.notes, image.grid.shape)


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Read and score the prediction. Raises InputError where the file is refused."""
    prediction, problems = read_prediction(reference.data.grid, case, challenge)
    scores, details = score_lesions(reference.data, prediction, challenge)
    return CaseResult(case, tuple(scores), tuple(problems), details=details)


def read_prediction(grid: Grid, case: Case, challenge: Challenge) -> tuple[Prepared, list[Problem]]:
    """The prediction as it is scored, on the given grid, and what is odd about it. Raises InputError."""
    image, problems, elsewhere = _read_prediction(grid, case, challenge)
    if elsewhere and challenge.geometry.policy == "resample":
        image = resample_nearest(image, grid)
    return prepare(image, challenge, "prediction"), problems  # the image, a copied whole volume, ends here


def expect(case: Case, challenge: Challenge) -> Grid | None:
    """The grid that a prediction must lie on, as far as it is known. Raises InputError."""
    grid = expected_grid(case, challenge)
    return None if grid is None else _with_spacing(grid, challenge)


def check(grid: Grid | None, case: Case, challenge: Challenge) -> list[Problem]:
    """What is odd about a prediction. Raises InputError where the file is refused."""
    return _read_prediction(grid, case, challenge)[1]


def _read_prediction(
    expected: Grid | None, case: Case, challenge: Challenge
) -> tuple[LabelImage, list[Problem], bool]:
    """Labels, what is odd about them, and whether they lie elsewhere. Raises InputError."""
    return read_on_grid(
        lambda judge: _read(submitted(case), challenge, judge),
        expected,
        submitted(case),
        challenge.geometry,
        as_read=lambda grid: _with_spacing(grid, challenge),
        odd=lambda image: _unknown_labels(image, case, challenge),
        only_file=True,
    )


def _read(path: Path, challenge: Challenge, judge: Callable[[Grid], None] | None = None) -> LabelImage:
    known = {*challenge.labels.values(), *challenge.remap}
    image = read_labels(path, known, challenge.unknown_labels, judge=judge)
    return remap_labels(replace(image, grid=_with_spacing(image.grid, challenge)), challenge.remap)


def _with_spacing(grid: Grid, challenge: Challenge) -> Grid:
    """The grid with the spacing that the challenge reads."""
    if challenge.geometry.spacing_from == "header":
        return grid
    if challenge.geometry.spacing_from == "decimal":
        x_mm, y_mm, z_mm = (float(str(np.float32(length))) for length in grid.spacing_mm)
    else:
        lengths = np.sqrt((grid.affine[:3, :3] ** 2).sum(axis=0))
        x_mm, y_mm, z_mm = (float(np.float32(length)) for length in lengths)
    return replace(grid, spacing_mm=(x_mm, y_mm, z_mm))


def _unknown_labels(image: LabelImage, case: Case, challenge: Challenge) -> list[Problem]:
    if not image.unknown:
        return []
    found = ", ".join(f"{value:g} ({count} voxels)" for value, count in sorted(image.unknown.items())[:10])
    allowed = ", ".join(map(str, (0, *sorted(challenge.labels.values()))))
    message = f"labels {found} are not in {{{allowed}}}; counted as background"
    hint = "export with the labels of this edition, or set labels and remap in the YAML"
    return [Problem("warning", "LBL001", message, hint, file=str(case.prediction))]


def score_lesions(
    reference: Prepared, prediction: Prepared, challenge: Challenge
) -> tuple[list[Score], dict[str, tuple[tuple[Cell, ...], ...]]]:
    """Score one prediction: a Score for every scored region and metric of a case, and what lies behind.

    That is, by table, a row for every lesion, and one for every region and metric that is pooled.
    """
    measured = {
        region: _measure(reference, prediction, region, challenge) for region in challenge.scored_regions
    }
    parts = {pooled: part for one in measured.values() for pooled, part in one.parts.items()}
    for region, column in challenge.pooled_metrics:
        if around := challenge.metrics[column].within:
            absent = resolve_penalty(challenge.metrics[column].penalty, None)
            assert absent is not None  # the model asks for it
            overlaps = (measured[region].overlap, measured[around].overlap)
            parts[region, column] = of_burden(*overlaps, absent)
    details = {"lesions.csv": tuple(row for one in measured.values() for row in one.rows)}
    if challenge.pooled_metrics:
        details["pooled.csv"] = tuple((*pooled, *parts[pooled]) for pooled in challenge.pooled_metrics)
    return [score for one in measured.values() for score in one.scores], details


class _Measured(NamedTuple):
    """What remains of a region: scores, rows of lesions.csv, voxel counts, parts of what is pooled."""

    scores: list[Score]
    rows: list[tuple[Cell, ...]]
    overlap: Overlap
    parts: dict[tuple[str, str], tuple[float, int]]


def _measure(reference: Prepared, prediction: Prepared, region: str, challenge: Challenge) -> _Measured:
    """Measure a region; what takes memory ends with this function."""
    pair = RegionPair(reference, prediction, region, challenge)
    scores: list[Score] = []
    by_lesion: dict[str, dict[int, float]] = {}
    for column in challenge.metrics_of(region):
        spec = challenge.metrics[column]
        level, entry = find_metric(spec.metric)
        if entry.reads == "detection":
            detection = pair.detection(level)
            if detection is None:
                scores.append(_left_out(pair, column, f"no {level} reference lesion"))
            else:
                scores.append(_score(pair, column, spec, entry.function(detection)))
        elif level == "lesion":
            by_lesion[column] = _lesion_values(pair, spec, entry)
            scores.append(_lesion_mean(pair, column, spec, by_lesion[column]))
        else:
            scores.append(_score(pair, column, spec, _image_value(pair, spec, entry)))
    listed = by_lesion or any(region in spec.pooled for spec in challenge.metrics.values())
    parts = {
        pooled: _part(pair, challenge.metrics[pooled[1]])
        for pooled in challenge.pooled_metrics
        if pooled[0] == region and not challenge.metrics[pooled[1]].within
    }
    rows = _lesion_rows(pair, by_lesion) if listed else []
    return _Measured(scores, rows, pair.image_overlap(), parts)


def _part(pair: RegionPair, spec: MetricSpec) -> tuple[float, int]:
    """Sum and count of a case for a metric of one region that is pooled over cases."""
    level, entry = find_metric(spec.metric)
    if entry.reads == "pooled":
        return of_masks(pair.image_overlap())
    if entry.reads == "detection":
        found = pair.detection(level, spec.detection_iou)
        return OF_LESIONS[entry.name](found) if found else (0.0, 0)
    given = _parameters(spec)
    if entry.reads == "overlap":
        groups = pair.detected(spec.detection_iou)
        values = [entry.measure(pair.group_overlap(group), given) for group in groups]
    else:
        values = [entry.measure(record, given) for record in pair.group_distances(spec)]
    return math.fsum(values), len(values)


def _image_value(pair: RegionPair, spec: MetricSpec, entry: Metric) -> float:
    """Value of a metric of the whole masks; nan or inf where it is undefined."""
    if entry.reads == "overlap":
        return entry.measure(pair.image_overlap(), _parameters(spec))
    if entry.reads == "agreement":
        return entry.measure(pair.image_agreement(), _parameters(spec))
    if spec.disjoint == "penalty" and not pair.image_overlap().tp:
        return math.nan
    if entry.within_reach:
        value = entry.measure(pair.image_distances(spec, far=False), _parameters(spec))
        if math.isfinite(value):
            return value
    return entry.measure(pair.image_distances(spec), _parameters(spec))


def _lesion_values(pair: RegionPair, spec: MetricSpec, entry: Metric) -> dict[int, float]:
    """Value of a metric for every matched reference lesion, by lesion number."""
    given = _parameters(spec)
    if entry.reads == "overlap":
        matched = [lesion for lesion in pair.lesions if lesion.partners.size]
        return {lesion.number: entry.measure(pair.lesion_overlap(lesion), given) for lesion in matched}
    values: dict[int, float] = {}
    for far in (False, True) if entry.within_reach else (True,):
        for number, record in pair.lesion_distances(spec, far=far).items():
            if not math.isfinite(values.get(number, math.inf)):
                values[number] = entry.measure(record, given)
        if all(map(math.isfinite, values.values())):
            break
    return values


def _lesion_mean(pair: RegionPair, column: str, spec: MetricSpec, values: dict[int, float]) -> Score:
    """Mean of a metric over the lesions that the challenge averages; see LesionRules.average_over."""
    penalty = resolve_penalty(spec.penalty, pair.grid.shape)
    averaged, spurious = _averaged(pair, values)
    if pair.rules.average_over == "large" and not averaged:
        return _left_out(pair, column, "no large reference lesion")
    count = len(averaged) + spurious
    if not count:
        missed = pair.rules.average_over == "matched" and pair.status != "empty_both"
        if missed:
            return _ruled(pair, column, penalty, "no matched lesion")
        return _ruled(pair, column, spec.empty_both, "no lesion to average")
    if penalty is None and (spurious or any(lesion.number not in values for lesion in averaged)):
        return _left_out(pair, column, "a lesion failed and the metric has no penalty")
    failed = 0.0 if penalty is None else penalty
    total = sum(values.get(lesion.number, failed) for lesion in averaged) + spurious * failed
    measured = any(lesion.number in values for lesion in averaged)
    mean = total / count
    return Score(
        pair.region,
        column,
        mean,
        mean if measured else None,
        pair.status,
        "" if measured else "no lesion was matched",
    )


def _averaged(pair: RegionPair, values: dict[int, float]) -> tuple[list[LesionMatch], int]:
    """Reference lesions that enter the mean, and how many spurious ones do."""
    if pair.rules.average_over == "matched":
        return [lesion for lesion in pair.lesions if lesion.number in values], 0
    if pair.rules.average_over == "large":
        return pair.of_size("large"), pair.spurious.size
    return pair.counted, pair.spurious.size if pair.rules.false_positives == "penalized" else 0


def _score(pair: RegionPair, column: str, spec: MetricSpec, measured: float) -> Score:
    """The measured value, or the rule's where nothing can be measured."""
    if math.isfinite(measured):
        return Score(pair.region, column, measured, measured, pair.status)
    if pair.status == "empty_both":
        return _ruled(pair, column, spec.empty_both, "both sides are empty")
    return _ruled(pair, column, resolve_penalty(spec.penalty, pair.grid.shape), "undefined, so the penalty")


def _ruled(pair: RegionPair, column: str, value: float | None, reason: str) -> Score:
    """A value by rule; none at all leaves the score out of means."""
    if value is None:
        return _left_out(pair, column, reason)
    return by_rule(pair.region, column, value, pair.status, reason)


def _left_out(pair: RegionPair, column: str, reason: str) -> Score:
    status = "empty_both" if pair.status == "empty_both" else "not_applicable"
    return by_rule(pair.region, column, None, status, reason)


def _lesion_rows(pair: RegionPair, by_lesion: dict[str, dict[int, float]]) -> list[tuple[Cell, ...]]:
    """A row of lesions.csv for every reference lesion and every spurious predicted one."""
    values: dict[str, dict[int, float]] = {}
    for column, found in by_lesion.items():
        # Of several columns of one kind (two tolerances) the first is shown.
        values.setdefault(pair.challenge.metrics[column].metric, found)
    counted = {lesion.number for lesion in pair.counted}
    rows: list[tuple[Cell, ...]] = [
        (
            pair.region,
            lesion.number,
            "ignored" if lesion.number not in counted else "tp" if lesion.partners.size else "fn",
            lesion.voxels * pair.voxel_mm3,
            lesion.partner_voxels * pair.voxel_mm3,
            " ".join(str(int(partner)) for partner in lesion.partners),
            *(values.get(f"lesion_{kind}", {}).get(lesion.number) for kind in ("dice", "hd95", "nsd")),
        )
        for lesion in pair.lesions
    ]
    for number in pair.spurious:
        size = int(pair.prediction_lesions.sizes[number]) * pair.voxel_mm3
        rows.append((pair.region, int(number), "fp", 0.0, size, str(int(number)), None, None, None))
    return rows


def _parameters(spec: MetricSpec) -> Mapping[str, object]:
    """What the challenge sets for this column, for a metric function to take its part of."""
    stated = {"tolerance_mm": spec.tolerance_mm, "combine": spec.combine}
    return {name: value for name, value in stated.items() if value is not None} | spec.parameters
