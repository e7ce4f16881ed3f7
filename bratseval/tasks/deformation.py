"""What a team submits of its map beside the landmarks: Jacobian determinants and displacement fields.

Of the parts of a case, `jacobian` is the image of determinants, `field` the displacement that takes a
reference point to its moving point (so it warps the moving image onto the reference), and `inverse_field`
the one that takes a moving point to its reference point.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.fields import displacement_at, in_world, jacobian_determinant, to_world
from bratseval.inputs import find_part
from bratseval.metrics.jacobian import Jacobian
from bratseval.model import Case, Score
from bratseval.nifti import Grid
from bratseval.tasks.measuring import measure, metrics_reading, penalized
from bratseval.tasks.placing import on_grid
from bratseval.volumes import Volume, read_field, read_volume

MOST = 1e9  # a determinant beyond it is none


Fields = dict[str, "Volume | InputError"]  # by role; the error of a broken one


def read_fields(case: Case, challenge: Challenge, grid: Grid | None, problems: list[Problem]) -> Fields:
    """The submitted fields, their vectors in mm along the landmarks' axes.

    grid : that of the reference image, where it is known: a field elsewhere is refused.
    """
    rules = challenge.registration_rules
    fields: Fields = {}
    for role in ("field", "inverse_field"):
        try:
            if (part := find_part(case.prediction_parts, role)) is None:
                continue
            volume, by_intent = read_field(part.path)
            problems += [*volume.notes, *_placed(volume, part.path, challenge, grid)]
        except InputError as error:
            fields[role] = error
            problems += error.problems
            continue
        components = by_intent if rules.components == "by_intent" else rules.components
        vectors = to_world(
            volume.values, volume.grid.affine, components=components, unit=rules.unit, world=rules.world
        )
        fields[role] = replace(volume, values=vectors)
    return fields


def score_smoothness(
    case: Case, challenge: Challenge, grid: Grid | None, fields: Fields, problems: list[Problem]
) -> list[Score]:
    """Scores of the determinants: of their image, or of the field where only that is submitted.

    A broken image takes the penalty although a field is there: breaking a file never helps. The fields are
    taken out of ``fields``, since whole volumes of vectors need memory that the determinants need too.
    """
    columns = metrics_reading(challenge, "jacobian")
    if not columns:
        return []
    field = fields.pop("field", None)
    fields.clear()
    fault = field if isinstance(field, InputError) else None
    computed: np.ndarray | None = None
    if isinstance(field, Volume):
        affine = in_world(field.grid.affine, challenge.registration_rules.world)
        computed = jacobian_determinant(field.values, affine)
    del field
    determinants = computed
    try:
        if part := find_part(case.prediction_parts, "jacobian"):
            volume = read_volume(part.path, low=-MOST, high=MOST, onto=grid)
            problems += [*volume.notes, *_placed(volume, part.path, challenge, grid)]
            determinants = volume.values.astype(np.float64)
            del volume
            if computed is not None and computed.shape != determinants.shape:
                message = f"{part.path}: the shape is {determinants.shape}, the field's {computed.shape}"
                hint = "submit both on one grid"
                raise InputError(Problem("error", "GEO001", message, hint, file=str(part.path)))
            problems += _odd_determinants(determinants, computed, part.path)
            computed = None
    except InputError as error:
        determinants, fault = None, error
        problems += error.problems
    if determinants is not None:
        return measure(challenge, "", columns, Jacobian(determinants))
    if fault is None:
        message = "neither Jacobian determinants nor a displacement field were submitted; penalized"
        fault = InputError(Problem("warning", "SUB007", message, "submit one of them for every case"))
        problems += fault.problems
    return penalized(challenge, "", columns, fault, grid.shape if grid else None)


def compare_with_fields(
    case: Case, challenge: Challenge, fields: Fields, moving: np.ndarray, predicted: np.ndarray
) -> list[Problem]:
    """Where the submitted fields do not take the landmarks to the submitted points.

    moving, predicted : (n, d), mm: the landmarks of the moving image and their submitted places.
    """
    rules = challenge.registration_rules
    problems: list[Problem] = []
    for role, start, end in (("field", predicted, moving), ("inverse_field", moving, predicted)):
        field = fields.get(role)
        if not isinstance(field, Volume) or start.shape[1] != 3 or not len(start):
            continue
        moved = displacement_at(field.values, in_world(field.grid.affine, rules.world), start)
        off = np.linalg.norm(start + moved - end, axis=1)
        inside = ~np.isnan(off)
        name = next(str(part.path) for part in case.prediction_parts if part.role == role)
        if not inside.any():
            message = f"{name}: no landmark lies in the field, so it was not compared with the points"
            hint = "keep the header of the reference image"
            problems.append(Problem("note", "GEO007", message, hint, file=name))
        elif np.median(off[inside]) > rules.agreement_mm:
            message = (
                f"{name}: the field takes the landmarks {np.median(off[inside]):.3g} mm (median) from the "
                f"submitted points, expected at most {rules.agreement_mm:g}"
            )
            hint = "check direction, axes and unit of the field: mm along the axes that the challenge states"
            problems.append(Problem("warning", "GEO006", message, hint, file=name))
    return problems


def _placed(volume: Volume, path: Path, challenge: Challenge, grid: Grid | None) -> list[Problem]:
    """Nothing where no reference image is known, else what `on_grid` says."""
    return [] if grid is None else on_grid(volume.grid, grid, path, challenge.geometry)


def _share_off(computed: np.ndarray, submitted: np.ndarray) -> float:
    """Share of voxels whose determinants differ, plane by plane: whole volumes of differences take memory."""
    planes = zip(computed.T, submitted.T, strict=True)
    return sum(np.count_nonzero(np.abs(one - other) > 0.05) for one, other in planes) / computed.size


def _odd_determinants(submitted: np.ndarray, computed: np.ndarray | None, path: Path) -> list[Problem]:
    """What makes an image look like something other than the determinants of the submitted field."""
    least, mean = float(submitted.min()), float(submitted.mean())
    code, hint = "NII015", "submit det(I + du/dx) itself"
    if submitted.size > 1 and least == submitted.max() != 1:
        message = f"every determinant is {least:g}"
    elif least < 0 and abs(mean) < 0.1:
        message = f"the determinants have mean {mean:.2g}, as logarithms would; 1 means no change"
    elif computed is not None and (share := _share_off(computed, submitted)) > 0.01:
        message = f"{share:.0%} of the determinants are not those of the submitted field"
        code = "GEO006"
    else:
        return []
    return [Problem("warning", code, f"{path}: {message}", hint, file=str(path))]
