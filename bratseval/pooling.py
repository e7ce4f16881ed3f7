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
from bratseval.score_table import ScoreTable, concatenated, pairs, places_of
from bratseval.tables import PENALIZED, ScoreRow

# Why there is nothing to average over: status and reason.
_UNDETECTED = ("empty_prediction", "no lesion is detected in any case")
_NOTHING = {
    "lesion_precision": ("empty_prediction", "no lesion is predicted in any case"),
    "lesion_recall": ("empty_reference", "no case has a reference lesion"),
    "lesion_f1": ("empty_reference", "no case has a lesion on either side"),
}
Parts = list[tuple[str, float, float]]  # case, sum and count; two institutions may give a case one name


def with_pooled(
    rows: Iterable[ScoreRow],
    parts: Iterable[Sequence[Cell]],
    challenge: Challenge,
    expected: Mapping[str, Iterable[str]],
) -> ScoreTable:
    """The rows of the cases, and anew those of every team and pooled metric, which have no case.

    parts : rows (team, case, region, metric, sum, count), numbers or their text. expected : the cases of
    every team.
    """
    columns = challenge.pooled_metrics
    table = ScoreTable.of(rows)
    if not columns:
        return table
    kept = table.take(~is_pooled(table, challenge))
    of_cases = kept.take(kept.case.where(bool))
    teams = dict.fromkeys([*expected, *of_cases.team.used])
    given: dict[tuple[Cell, ...], Parts] = {}
    for team, case, region, metric, total, count in parts:
        part = (str(case), float(total or 0), float(count or 0))
        given.setdefault((team, region, metric), []).append(part)
    pooled: list[ScoreRow] = []
    for team in teams:
        own = of_cases.take(of_cases.team.where(team.__eq__))
        sites = own.institution.used
        site = sites[0] if len(sites) == 1 else ""
        lost = _lost(own, expected.get(team, ()))
        for region, metric in columns:
            found = _pooled(challenge, region, metric, given.get((team, region, metric), []), lost)
            result = (found.value, found.measured, found.status, found.reason)
            pooled.append(ScoreRow(team, site, "", region, metric, *result))
    return concatenated([kept, ScoreTable.of(pooled)])


def is_pooled(table: ScoreTable, challenge: Challenge) -> np.ndarray:
    """The rows of numbers that a team has once, over all its cases: (rows,) bool."""
    found = ~table.case.where(bool)
    if found.any():
        columns = challenge.pooled_metrics
        found[found] = places_of(table.take(found), ("region", "metric"), columns) >= 0
    return found


def _lost(rows: ScoreTable, expected: Iterable[str]) -> tuple[str, str] | None:
    """Status of the first case without a usable prediction, and a sentence that names it."""
    cases = set(rows.case.used)
    penalized = rows.take(rows.status.where(PENALIZED.__contains__))
    lost = {*pairs(penalized, "case", "status", "reason")}
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
    sums, counts = np.array([part[1:] for part in sorted(parts)]).T.copy()
    pooled = Pooled(sums, counts)
    value = entry.measure(pooled, spec.parameters) if entry.reads == "pooled" else pooled_mean(pooled)
    if entry.reads == "detection":  # the count of largest_overlap may fall below 0, a penalty may not gain
        value = max(value, 0.0)
    if math.isfinite(value):
        return Score(region, metric, value, value, "ok")
    if entry.reads == "pooled":  # nothing on either side
        status = "not_applicable" if spec.empty_both is None else "empty_both"
        return by_rule(region, metric, spec.empty_both, status, "nothing to measure in any case")
    return by_rule(region, metric, penalty, *_NOTHING.get(entry.name, _UNDETECTED))
