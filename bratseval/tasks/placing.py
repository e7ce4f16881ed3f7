"""Whether a file lies on the reference's grid, as the challenge's geometry policy has it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from bratseval.blocks import Geometry
from bratseval.errors import InputError, Problem
from bratseval.nifti import Grid, geometry_problems


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
