"""Registration: landmarks carried into the reference's space, and the smoothness of the map.

The reference landmarks lie in the reference (baseline) image, the moving ones in the image that is
registered to it (follow-up).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from bratseval.blocks import Registration
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.fields import in_world
from bratseval.inputs import find_part, reference_of, submitted, untold
from bratseval.metrics.landmarks import LARGEST_RADIUS_MM, STEP_MM, Landmarks, hit_rate_curve
from bratseval.model import Case, CaseResult, Cell, Reference, Score
from bratseval.nifti import Grid, read_grid
from bratseval.number_tables import NumberTable, read_numbers, refusal
from bratseval.policy import expected_scores
from bratseval.tasks.deformation import Fields, compare_with_fields, read_fields, score_smoothness
from bratseval.tasks.measuring import measure, metrics_reading, penalized
from bratseval.tasks.placing import expected_grid


@dataclass(frozen=True, slots=True)
class Truth:
    """What the organizer knows of a case: points (n, d) of both images by id, those of every rater
    (R, n, d), and the grid of the reference image where it is given."""

    ids: tuple[str, ...]
    reference: np.ndarray
    moving: np.ndarray
    raters: np.ndarray
    grid: Grid | None


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read the landmarks of both images, of the raters, and the grid. Raises InputError."""
    rules = challenge.registration_rules
    path = reference_of(case)
    points = _read_points(path, rules)
    ids = tuple(points)
    moving = find_part(case.reference_parts, "moving")
    if moving is None:
        message = f"{path}: the moving landmarks of the case are missing"
        raise InputError(Problem("error", "SUB007", message, file=str(path)))
    if not ids:
        raise refusal(path, [(": no landmark", "write one row a landmark")])
    image = find_part(case.reference_parts, "image")
    raters = [part.path for part in case.reference_parts if part.role == "rater"]
    truth = Truth(
        ids,
        np.array(list(points.values())),
        _paired(moving.path, ids, rules),
        np.array([_paired(path, ids, rules) for path in raters]).reshape(
            -1, len(ids), len(rules.coordinates)
        ),
        None if image is None else read_grid(image.path),
    )
    return Reference(truth, grid_shape=truth.grid.shape if truth.grid else None)


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score landmarks and smoothness; each takes its penalty alone when its file is broken."""
    truth: Truth = reference.data
    scores: list[Score] = []
    problems: list[Problem] = []
    details: dict[str, tuple[tuple[Cell, ...], ...]] = {}
    columns = metrics_reading(challenge, "landmarks")
    points: dict[str, list[float]] = {}
    try:
        points = submitted_points(case, truth, challenge.registration_rules, problems)
        names, landmarks = _landmarks(points, truth, challenge.registration_rules)
        scores += measure(challenge, "", columns, landmarks)
        problems += _suspicions(landmarks, submitted(case), challenge.registration_rules)
        details = _details(names, landmarks, challenge)
    except InputError as error:
        problems += () if case.prediction is None else error.problems  # the missing ones are listed already
        scores += penalized(challenge, "", columns, error)
    fields = read_fields(case, challenge, truth.grid, problems)
    problems += _compared(fields, points, truth, case, challenge)
    scores += score_smoothness(case, challenge, truth.grid, fields, problems)
    order = {pair: index for index, pair in enumerate(expected_scores(challenge, case))}
    scores.sort(key=lambda one: order[one.region, one.metric])
    return CaseResult(case, tuple(scores), tuple(problems), details=details)


def expect(case: Case, challenge: Challenge) -> Truth | None:
    """All that is known of a case: tables and the header of an image. Raises InputError."""
    return None if case.reference is None else read_reference(case, challenge).data


def check(truth: Truth | None, case: Case, challenge: Challenge) -> list[Problem]:
    """What is wrong with the landmarks, the determinants and the fields."""
    problems: list[Problem] = []
    points: dict[str, list[float]] = {}
    try:
        points = submitted_points(case, truth, challenge.registration_rules, problems)
        if truth is not None:
            landmarks = _landmarks(points, truth, challenge.registration_rules)[1]
            problems += _suspicions(landmarks, submitted(case), challenge.registration_rules)
    except InputError as error:
        problems += untold(error, case)
    grid = truth.grid if truth else expected_grid(case, challenge)
    fields = read_fields(case, challenge, grid, problems)
    if truth is not None:
        problems += _compared(fields, points, truth, case, challenge)
    score_smoothness(case, challenge, grid, fields, problems)
    return problems


def _compared(
    fields: Fields, points: Mapping[str, list[float]], truth: Truth, case: Case, challenge: Challenge
) -> list[Problem]:
    """Where the submitted fields and the submitted points contradict each other."""
    own = [index for index, name in enumerate(truth.ids) if name in points]
    moving = truth.moving[own]
    predicted = np.array([points[truth.ids[index]] for index in own]).reshape(moving.shape)
    return compare_with_fields(case, challenge, fields, moving, predicted)


def _read_points(path: Path, rules: Registration) -> dict[str, list[float]]:
    """Coordinates by landmark id, in the order of the ids, of a reference file. Raises InputError."""
    table = read_numbers(path, rules.coordinates, id_column=rules.id_column, strict=False)
    if table.faults:
        raise refusal(path, table.faults)
    return dict(sorted(_by_id(table, rules).items(), key=lambda item: (len(item[0]), item[0])))


def _by_id(table: NumberTable, rules: Registration) -> dict[str, list[float]]:
    rows = zip(table.ids, table.numbers, strict=True)
    return {name: [row[axis] for axis in rules.coordinates] for name, row in rows}


def _paired(path: Path, ids: Sequence[str], rules: Registration) -> np.ndarray:
    """(n, d) points of a reference file that must have exactly these landmarks."""
    points = _read_points(path, rules)
    if set(points) != set(ids):
        other = ", ".join(sorted(set(points) ^ set(ids))[:10])
        text = f": its landmarks are not those of the reference (not in both: {other})"
        raise refusal(path, [(text, "name the same landmarks in every file of a case")])
    return np.array([points[name] for name in ids])


def submitted_points(
    case: Case, truth: Truth | None, rules: Registration, problems: list[Problem]
) -> dict[str, list[float]]:
    """The submitted coordinates by landmark id. Raises InputError with all that is wrong with the table."""
    path = submitted(case)
    table = read_numbers(path, rules.coordinates, id_column=rules.id_column)
    points = _by_id(table, rules)
    faults = list(table.faults)
    expected = truth.ids if truth and table.ids_are_sure else tuple(points)
    if further := [name for name in points if name not in expected]:
        text = f": landmark {', '.join(further[:10])} is not one of the case's {len(expected)}"
        faults.append((text, "submit the landmarks of the moving image, under their own numbers"))
    lost = ", ".join([name for name in expected if name not in points][:10])
    if lost and (rules.missing_landmark == "error" or (rules.missing_landmark == "exclude" and not points)):
        faults.append((f": landmark {lost} is missing", f"submit all {len(expected)} landmarks of the case"))
    faults += _outside(points, truth.grid if truth else None, rules)
    if faults:
        raise refusal(path, faults)
    if lost:
        what = "as not moved" if rules.missing_landmark == "initial" else "as if the case had none of them"
        message = f"{path}: landmark {lost} is missing; counted {what}"
        problems.append(Problem("warning", "CSV012", message, "submit it", file=str(path)))
    return points


def _landmarks(
    points: Mapping[str, list[float]], truth: Truth, rules: Registration
) -> tuple[list[str], Landmarks]:
    """The points beside the reference's, and their ids; one not submitted has not moved, or is left out."""
    kept = [
        index for index, name in enumerate(truth.ids) if name in points or rules.missing_landmark == "initial"
    ]
    names = [truth.ids[index] for index in kept]
    moving = truth.moving[kept]
    predicted = np.array(
        [points.get(name, place) for name, place in zip(names, moving.tolist(), strict=True)]
    ).reshape(moving.shape)
    diagonal = _diagonal(truth, rules)
    return names, Landmarks(truth.reference[kept], predicted, moving, truth.raters[:, kept], diagonal)


def _outside(points: dict[str, list[float]], grid: Grid | None, rules: Registration) -> list[tuple[str, str]]:
    """Landmarks that do not lie in the image."""
    limits = [rules.volume.get(axis, (-np.inf, np.inf)) for axis in rules.coordinates]
    if grid is not None and len(rules.coordinates) == 3:
        corners = np.array(list(np.ndindex(2, 2, 2))) * np.array(grid.shape) - 0.5
        world = np.column_stack([corners, np.ones(8)]) @ in_world(grid.affine, rules.world).T
        limits = list(zip(world.min(axis=0)[:3].tolist(), world.max(axis=0)[:3].tolist(), strict=True))
    faults = []
    for name, point in points.items():
        for axis, value, (low, high) in zip(rules.coordinates, point, limits, strict=True):
            if value < low or value > high:
                text = (
                    f": landmark {name} lies outside the image: {axis} is {value:g}, not {low:g} to {high:g}"
                )
                hint = "check the order of the columns; coordinates are in mm, as in the landmark files"
                faults.append((text, hint))
    return faults


def _diagonal(truth: Truth, rules: Registration) -> float:
    """Diagonal of the reference image in mm, nan where nothing states it."""
    if rules.diagonal_mm is not None:
        return rules.diagonal_mm
    if truth.grid is not None:
        return float(np.linalg.norm(np.array(truth.grid.shape) * truth.grid.spacing_mm))
    if set(rules.coordinates) <= set(rules.volume):
        extents = [rules.volume[axis][1] - rules.volume[axis][0] for axis in rules.coordinates]
        return float(np.linalg.norm(extents))
    return float("nan")


def _suspicions(landmarks: Landmarks, path: Path, rules: Registration) -> list[Problem]:
    """Points that would lie far better with two columns exchanged."""
    median = float(np.median(landmarks.errors)) if len(landmarks.predicted) else 0.0
    for first, second in combinations(range(len(rules.coordinates)), 2):
        order = list(range(len(rules.coordinates)))
        order[first], order[second] = second, first
        exchanged = replace(landmarks, predicted=landmarks.predicted[:, order])
        if median > 10 and float(np.median(exchanged.errors)) < median / 4:
            names = f"{rules.coordinates[first]} and {rules.coordinates[second]}"
            message = f"{path}: the points would lie {median:.0f} mm less far off with {names} exchanged"
            return [Problem("warning", "CSV015", message, "check the order of the columns", file=str(path))]
    return []


def _details(
    names: Sequence[str], landmarks: Landmarks, challenge: Challenge
) -> dict[str, tuple[tuple[Cell, ...], ...]]:
    """Rows of landmarks.csv, and the hit-rate curve where the challenge has one."""
    initial, errors = landmarks.initial_errors, landmarks.errors
    rows = tuple(
        (name, float(before), float(after), int(after < before))
        for name, before, after in zip(names, initial, errors, strict=True)
    )
    details: dict[str, tuple[tuple[Cell, ...], ...]] = {"landmarks.csv": rows}
    spec = next((s for s in challenge.metrics.values() if s.metric == "hit_rate_auc"), None)
    if spec is not None and errors.size:
        largest, step = (
            float(spec.parameters.get(name, usual))
            for name, usual in (("largest_radius_mm", LARGEST_RADIUS_MM), ("step_mm", STEP_MM))
        )
        curve = zip(*hit_rate_curve(errors, largest, step), strict=True)
        details["curves.csv"] = tuple(("", "hit_rate", float(at), float(share)) for at, share in curve)
    return details
