"""Whether a file lies on the grid of its case, as the challenge's geometry policy has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from bratseval.blocks import Geometry
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.images import LabelImage
from bratseval.model import Case
from bratseval.nifti import Grid, geometry_problems, read_grid
from bratseval.volumes import Volume, read_volume

Image = TypeVar("Image", bound=LabelImage | Volume)


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


def read_on_grid(
    read: Callable[[Callable[[Grid], None]], Image],
    expected: Grid | None,
    path: Path,
    rules: Geometry,
    *,
    as_read: Callable[[Grid], Grid] = lambda grid: grid,
    odd: Callable[[Image], list[Problem]] = lambda image: [],
    only_file: bool = False,
) -> tuple[Image, list[Problem], bool]:
    """An image, what is odd about it, and whether it lies elsewhere although the policy allows it.

    read : reads the image and calls what it is given with the grid first, so that of an image of another
    shape no voxel is read. as_read : the grid as the challenge reads it. odd : further oddities.
    Raises InputError with all that is wrong with the place and with the values together.
    """
    elsewhere: list[Problem] = []
    found: list[Problem] = []

    def judge(grid: Grid) -> None:
        if expected is None:
            return
        try:
            elsewhere.extend(on_grid(as_read(grid), expected, path, rules, only_file=only_file))
        except InputError as error:
            found.extend(error.problems)
            if grid.shape != expected.shape:
                raise InputError(()) from None  # nothing more is read

    try:
        image = read(judge)
    except InputError as error:
        raise InputError([*found, *error.problems]) from None
    try:
        oddities = odd(image)
    except InputError as error:
        raise InputError([*found, *error.problems, *image.notes]) from None
    if found:
        raise InputError([*found, *image.notes, *oddities])
    return image, [*image.notes, *oddities, *elsewhere], bool(elsewhere)


def read_map(
    path: Path, expected: Grid | None, rules: Geometry, *, low: float, high: float, rounding: float
) -> tuple[Volume, list[Problem]]:
    """A submitted map of numbers within a range, and what is odd about it. Raises InputError."""
    volume, problems, _ = read_on_grid(
        lambda judge: read_volume(path, low=low, high=high, rounding=rounding, judge=judge),
        expected,
        path,
        rules,
    )
    return volume, problems


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
