"""Several raters: a probability map of every task of a case against the masks of all its raters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bratseval.blocks import Geometry
from bratseval.challenge import Challenge
from bratseval.errors import InputError, Problem
from bratseval.inputs import find_part, reference_of, submitted
from bratseval.metrics.raters import Raters
from bratseval.model import Case, CaseResult, Part, Reference, Score
from bratseval.nifti import Grid, read_grid
from bratseval.policy import expected_scores
from bratseval.tasks.measuring import measure, penalized
from bratseval.tasks.placing import on_grid, read_map
from bratseval.volumes import Volume, read_volume

ROUNDING = 1e-6  # granted beyond 0 and 1


def read_reference(case: Case, challenge: Challenge) -> Reference:
    """Read the masks of all raters: by region, the grid and (raters, x, y, z) bool. Raises InputError."""
    unknown = {part.region for part in case.reference_parts} - set(challenge.regions)
    if unknown:
        message = (
            f"{reference_of(case).parent}: {', '.join(sorted(unknown))} is no region of {challenge.name}"
        )
        raise InputError(Problem("error", "SUB008", message, f"known: {', '.join(challenge.regions)}"))
    by_region: dict[str, tuple[Grid, np.ndarray]] = {}
    problems: list[Problem] = []
    for region in dict.fromkeys(region for region, _ in expected_scores(challenge, case)):
        parts = [part for part in case.reference_parts if part.region == region]
        masks: list[np.ndarray] = []
        grid: Grid | None = None
        for part in parts:
            volume = read_volume(part.path, low=0, onto=grid, convert=lambda values: values > 0)
            grid = grid or volume.grid
            masks.append(volume.values)
            problems += [*volume.notes, *on_grid(volume.grid, grid, part.path, Geometry(policy="ignore"))]
        assert grid is not None  # a region is expected because a file names it
        by_region[region] = grid, np.stack(masks)
    return Reference(by_region, tuple(problems))


def expect(case: Case, challenge: Challenge) -> dict[str, Grid]:
    """The grid of every task of a case, from the header of its first mask. Raises InputError."""
    first: dict[str, Part] = {}
    for part in case.reference_parts:
        first.setdefault(part.region, part)
    return {region: read_grid(part.path) for region, part in first.items()}


def check(grids: Mapping[str, Grid], case: Case, challenge: Challenge) -> list[Problem]:
    """What is wrong with the map of every task; without references those that are submitted are checked."""
    submitted(case)
    problems: list[Problem] = []
    for region in dict.fromkeys([*grids, *(part.region for part in case.prediction_parts)]):
        try:
            if region not in (grids if case.reference else challenge.regions):
                raise InputError(Problem("warning", "SUB006", f"{region} is no task of the case; not scored"))
            read_submitted(case, region, grids.get(region), challenge, problems)
        except InputError as error:
            problems += error.problems
    return problems


def read_submitted(
    case: Case, region: str, grid: Grid | None, challenge: Challenge, problems: list[Problem]
) -> Volume:
    """The submitted map of a task. Raises InputError where it is missing or broken."""
    part = find_part(case.prediction_parts, "", region)
    if part is None:
        message, hint = f"the map of {region} is missing; penalized", "submit one for every task"
        raise InputError(Problem("warning", "SUB007", message, hint))
    volume, found = read_map(part.path, grid, challenge.geometry, low=0, high=1, rounding=ROUNDING)
    problems += found
    return volume


def score(reference: Reference, case: Case, challenge: Challenge) -> CaseResult:
    """Score every task; one whose map is missing or broken takes its penalty, the rest is scored."""
    submitted(case)
    scores: list[Score] = []
    problems = [
        Problem("warning", "SUB006", f"{part.path} belongs to no task of the case; not scored")
        for part in case.prediction_parts
        if part.region not in reference.data
    ]
    for region, (grid, masks) in reference.data.items():
        try:
            volume = read_submitted(case, region, grid, challenge, problems)
        except InputError as error:
            problems += error.problems
            scores += penalized(challenge, region, challenge.metrics_of(region), error, grid.shape)
            continue
        values = volume.values
        probability = np.clip(values if values.dtype.kind == "f" else values.astype(np.float64), 0, 1)
        record = Raters(masks, probability)
        scores += measure(challenge, region, challenge.metrics_of(region), record)
    return CaseResult(case, tuple(scores), tuple(problems))
