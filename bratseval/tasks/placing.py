"""Whether a file lies on the reference's grid, as the challenge's geometry policy has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bratseval.blocks import Geometry
from bratseval.errors import InputError, Problem
from bratseval.nifti import Grid, geometry_problems


def on_grid(grid: Grid, reference: Grid, path: Path, rules: Geometry) -> list[Problem]:
    """Nothing where a file lies on the reference's grid; warnings where that is not asked.

    Raises InputError for another shape, and under any policy but ignore for another place. Images of
    numbers are never resampled.
    """
    placed = [
        replace(problem, message=f"{path}: {problem.message}", file=str(path))
        for problem in geometry_problems(reference, grid, rules.tolerance)
    ]
    if placed and (rules.policy != "ignore" or placed[0].code == "GEO001"):
        raise InputError(placed)
    hint = "scored all the same: geometry is ignore"
    return [replace(problem, severity="warning", hint=hint) for problem in placed]
