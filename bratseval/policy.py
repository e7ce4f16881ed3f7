"""Values that come from a rule of the challenge, never from a measurement."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bratseval.blocks import MetricSpec, Penalty
from bratseval.challenge import Challenge
from bratseval.errors import InputError
from bratseval.model import Case, Score

MISSING = ("SUB004", "SUB007")  # codes of a prediction, or of a part of one, that was not submitted


def resolve_penalty(
    penalty: Penalty | list[Penalty] | None, grid_shape: tuple[int, int, int] | None
) -> float | None:
    """The penalty as a number: itself, the grid's diagonal in voxels, or the largest of a list.

    The diagonal of an unknown grid (the reference could not be read either) is left out of a list.
    """
    if isinstance(penalty, list):
        known = [resolve_penalty(one, grid_shape) for one in penalty]
        return max((value for value in known if value is not None), default=None)
    if penalty == "grid_diagonal":
        return None if grid_shape is None else math.sqrt(sum(extent**2 for extent in grid_shape))
    return penalty


def by_rule(region: str, metric: str, value: float | None, status: str, reason: str) -> Score:
    """A score that was not measured."""
    return Score(region, metric, value, None, status, reason)


def missing_value(spec: MetricSpec, grid_shape: tuple[int, int, int] | None) -> float | None:
    """What a case costs that has no usable prediction."""
    return resolve_penalty(spec.penalty if spec.missing is None else spec.missing, grid_shape)


def expected_scores(challenge: Challenge, case: Case) -> list[tuple[str, str]]:
    """Every (region, metric) that a case has: those of the whole team where the case is empty.

    Where the names of reference files carry a region (QUBIQ's tasks), a case has the regions that its
    references have.
    """
    if not case.case:
        return [("", metric) for metric in challenge.team_metrics]
    regions = challenge.scored_regions
    if challenge.regions_by_file:
        stated = {part.region for part in case.reference_parts}
        # none that is known: the reference is unusable
        regions = [region for region in regions if region in stated] or regions
    return [(region, metric) for region in regions for metric in challenge.metrics_of(region)]


def unscored(
    challenge: Challenge,
    expected: Iterable[tuple[str, str]],
    why: InputError | tuple[str, str],
    grid_shape: tuple[int, int, int] | None = None,
) -> tuple[Score, ...]:
    """Scores of expected (region, metric) pairs without a usable prediction: the penalty of each.

    why: the error of a file that is missing or broken, or status (crashed, timeout) and reason.
    """
    if isinstance(why, InputError):
        status = "missing" if why.problems[0].code in MISSING else "invalid"
        reason = why.problems[0].message
    else:
        status, reason = why
    return tuple(
        by_rule(region, metric, missing_value(challenge.metrics[metric], grid_shape), status, reason)
        for region, metric in expected
    )
