"""Values that come from a rule of the challenge, never from a measurement."""

from __future__ import annotations

import math

from bratseval.challenge import Challenge, MetricSpec, Penalty
from bratseval.model import Score


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


def unscored_case(
    challenge: Challenge, status: str, reason: str, grid_shape: tuple[int, int, int] | None
) -> tuple[Score, ...]:
    """Scores of a case without a usable prediction: the penalty in every region and metric.

    status is missing, invalid, crashed or timeout.
    """
    return tuple(
        by_rule(region, column, missing_value(spec, grid_shape), status, reason)
        for region in challenge.scored_regions
        for column, spec in challenge.metrics.items()
    )
