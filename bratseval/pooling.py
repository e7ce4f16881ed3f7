"""One score a team over all its cases, from the sums that its cases gave (`pooled.csv`).

Needs no image: shards and institutions are joined by their sums. A team of whose cases one is unusable
takes the penalty, since no one can say what that case would have given.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bratseval.challenge import Challenge
from bratseval.metrics.pooled import Pooled, pooled_mean
from bratseval.metrics.registry import find_metric
from bratseval.model import Cell, Score
from bratseval.policy import by_rule, missing_value
from bratseval.tables import PENALIZED, ScoreRow

Parts = dict[str, tuple[float, float]]  # case -> sum and count


def with_pooled(
    rows: Iterable[ScoreRow],
    parts: Iterable[tuple[Cell, ...]],
    challenge: Challenge,
    expected: Mapping[str, Iterable[str]],
) -> list[ScoreRow]:
    """The rows of the cases, and anew those of every team and pooled metric, which have no case.

    parts : rows (team, case, region, metric, sum, count). expected : the cases of every team.
    """
    columns = challenge.pooled_metrics
    kept = [row for row in rows if row.case or (row.region, row.metric) not in columns]
    if not columns:
        return kept
    of_team: dict[str, list[ScoreRow]] = {team: [] for team in expected}
    for row in kept:
        if row.case:
            of_team.setdefault(row.team, []).append(row)
    given: dict[tuple[Cell, ...], Parts] = {}
    for team, case, region, metric, total, count in parts:
        given.setdefault((team, region, metric), {})[str(case)] = (float(total or 0), float(count or 0))
    for team, own in of_team.items():
        sites = {row.institution for row in own}
        site = sites.pop() if len(sites) == 1 else ""
        lost = _lost(own, expected.get(team, ()))
        for region, metric in columns:
            found = _pooled(challenge, region, metric, given.get((team, region, metric), {}), lost)
            result = (found.value, found.measured, found.status, found.reason)
            kept.append(ScoreRow(team, site, "", region, metric, *result))
    return kept


def _lost(rows: Sequence[ScoreRow], expected: Iterable[str]) -> tuple[str, str] | None:
    """Status of the first case without a usable prediction, and a sentence that names it."""
    cases = {row.case for row in rows}
    lost = {(row.case, row.status, row.reason) for row in rows if row.status in PENALIZED}
    lost |= {(case, "missing", "it has no scores") for case in {*expected} - cases - {""}}
    if not lost:
        return None
    case, status, reason = min(lost)
    more = len({case for case, *_ in lost}) - 1
    return status, f"case {case} is unusable{f', and {more} more' if more else ''}: {reason}"


def _pooled(
    challenge: Challenge, region: str, metric: str, parts: Parts, lost: tuple[str, str] | None
) -> Score:
    spec = challenge.metrics[metric]
    entry = find_metric(spec.metric)[1]
    penalty = missing_value(spec, None)
    if lost is not None:
        return by_rule(region, metric, penalty, *lost)
    if not parts:
        return by_rule(region, metric, None, "not_applicable", "no reference is usable")
    sums, counts = np.array([parts[case] for case in sorted(parts)]).T.copy()
    pooled = Pooled(sums, counts)
    value = entry.measure(pooled, spec.parameters) if entry.reads == "pooled" else pooled_mean(pooled)
    if entry.reads == "detection":  # the count of largest_overlap may fall below 0, a penalty may not gain
        value = max(value, 0.0)
    if math.isfinite(value):
        return Score(region, metric, value, value, "ok")
    if entry.reads == "pooled":  # nothing on either side
        status = "not_applicable" if spec.empty_both is None else "empty_both"
        return by_rule(region, metric, spec.empty_both, status, "nothing to measure in any case")
    return by_rule(region, metric, penalty, "ok", "nothing to average in any case")
