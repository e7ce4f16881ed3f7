"""From a record to scores, for tasks whose metrics read one record of a case or region."""

from __future__ import annotations

import math
from collections.abc import Iterable

from bratseval.challenge import Challenge
from bratseval.errors import InputError
from bratseval.metrics.registry import find_metric
from bratseval.model import Score
from bratseval.policy import by_rule, unscored


def metrics_reading(challenge: Challenge, record: str) -> list[str]:
    """Columns of the challenge whose metric reads a record, in order."""
    return [
        column for column, spec in challenge.metrics.items() if find_metric(spec.metric)[1].reads == record
    ]


def measure(
    challenge: Challenge, region: str, columns: Iterable[str], record: object, status: str = "ok"
) -> list[Score]:
    """The value of every column; a metric that is undefined for this record is left out of means."""
    scores = []
    for column in columns:
        spec = challenge.metrics[column]
        value = find_metric(spec.metric)[1].measure(record, spec.parameters)
        if math.isfinite(value):
            scores.append(Score(region, column, value, value, status))
        else:
            scores.append(by_rule(region, column, spec.empty_both, "not_applicable", "undefined here"))
    return scores


def penalized(
    challenge: Challenge,
    region: str,
    columns: Iterable[str],
    error: InputError,
    grid_shape: tuple[int, int, int] | None = None,
) -> list[Score]:
    """The penalty of every column because of a file that is missing or broken."""
    return list(unscored(challenge, [(region, column) for column in columns], error, grid_shape))
