"""Whether a file lies on the grid of its case, as the challenge's geometry policy has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from bratseval.blocks import Geometry
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.model import Case
from bratseval.nifti import Grid, geometry_problems, read_grid


def expected_grid(case: Case, challenge: Challenge) -> Grid | None:
    """The grid of the reference, from its header; without one the grid that the YAML states, or none.

    Raises InputError for a broken reference.
    """
    if case.reference is not None:
        return read_grid(case.reference)
    stated = challenge.expected.grid
    if stated is None:
        return None
    affine = np.array([*stated.affine, [0.0, 0.0, 0.0, 1.0]])
    return Grid(stated.shape, stated.spacing_mm, affine, True)


def on_grid(
    grid: Grid, reference: Grid, path: Path, rules: Geometry, *, only_file: bool = False
) -> list[Problem]:
    """Nothing where a file lies on the reference's grid; warnings where that is not asked.

    only_file: the prediction is this one label image, which needs no name in the sentence and which the
    policy may resample; images of numbers are never resampled.
    Raises InputError where the policy does not allow the other grid.
    """
    name = "" if only_file else f"{path}: "
    placed = [
        replace(problem, message=f"{name}{problem.message}", file=str(path))
        for problem in geometry_problems(reference, grid, rules.tolerance)
    ]
    resized = any(problem.code == "GEO001" for problem in placed)
    allowed = (rules.policy == "ignore" and not resized) or (rules.policy == "resample" and only_file)
    if placed and not allowed:
        raise InputError(placed)
    hint = f"scored all the same: geometry is {rules.policy}"
    return [replace(problem, severity="warning", hint=hint) for problem in placed]
