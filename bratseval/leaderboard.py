"""Score rows to a leaderboard: complete the table, rank the teams, state what was done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.metrics.registry import find_metric
from bratseval.ranking.brats import rank_brats
from bratseval.tables import PENALIZED, Cell, ScoreRow, csv_text


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The ranked teams, best first, and the ranks behind the score."""

    metrics: tuple[str, ...]
    regions: tuple[str, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rank_rows: tuple[tuple[Cell, ...], ...]
    problems: tuple[Problem, ...]

    @property
    def leaderboard_csv(self) -> str:
        """leaderboard.csv."""
        return csv_text(self.columns, self.rows)

    @property
    def ranks_csv(self) -> str:
        """ranks.csv: the rank of every team in every case, region and metric."""
        return csv_text(("team", "institution", "case", "region", "metric", "value", "rank"), self.rank_rows)


def rank_teams(rows: Sequence[ScoreRow], challenge: Challenge) -> Leaderboard:
    """Rank the teams by the challenge's scheme.

    The grid team x case x region x metric is completed first: an absent row is a missing value.
    Raises UsageError when there is nothing to rank.
    """
    spec = challenge.ranking
    regions = spec.regions or challenge.scored_regions
    ranked_metrics = [name for name in challenge.metrics if name in spec.metrics]
    ranked = [row for row in rows if row.region in regions and row.metric in ranked_metrics]
    if not ranked:
        raise UsageError(
            Problem(
                "error",
                "CSV006",
                f"no row of the ranked metrics ({', '.join(ranked_metrics) or 'none'}) "
                f"and regions ({', '.join(regions)})",
                "check that the scores belong to this challenge",
            )
        )
    teams = sorted({row.team for row in rows})
    cases = sorted({(row.institution, row.case) for row in ranked})
    case_index = {case: index for index, case in enumerate(cases)}
    entries = [find_metric(challenge.metrics[name].metric)[1] for name in ranked_metrics]
    by_unit: dict[tuple[int, int, int], dict[str, float]] = {}
    rightly_empty: list[tuple[tuple[int, int, int], str]] = []
    for row in ranked:
        unit = (
            case_index[row.institution, row.case],
            regions.index(row.region),
            ranked_metrics.index(row.metric),
        )
        if row.value is not None:
            by_unit.setdefault(unit, {})[row.team] = row.value
        elif row.status in ("empty_both", "not_applicable"):
            rightly_empty.append((unit, row.team))
    # A unit without any value is nobody's failure. Where one team has a value (it failed, or its file is
    # missing), those that rightly left the region empty must not rank behind it: they have the best value.
    for unit, team in rightly_empty:
        if unit in by_unit:
            best = entries[unit[2]].best
            by_unit[unit][team] = 0.0 if best is None else best
    if not by_unit:
        message = "no ranked metric has a value for any team"
        raise UsageError(Problem("error", "CFG006", message, "the other problems say why"))
    units = sorted(by_unit)
    values = np.array([[by_unit[unit].get(team, np.nan) for unit in units] for team in teams])
    values, problems = _replace_missing(values, units, ranked_metrics, challenge)
    smaller = np.array(
        [find_metric(challenge.metrics[m].metric)[1].smaller_is_better for m in ranked_metrics]
    )
    unit_cases = np.unique([unit[0] for unit in units], return_inverse=True)[1]
    result = rank_brats(
        values, unit_cases, smaller[[unit[2] for unit in units]], spec.ties, spec.missing == "drop"
    )

    means = _column_means(rows, teams, regions, ranked_metrics)
    missing = {
        team: len({(r.institution, r.case) for r in rows if r.team == team and r.status in PENALIZED})
        for team in teams
    }
    order = sorted(range(len(teams)), key=lambda i: (result.places[i], teams[i]))
    return Leaderboard(
        tuple(ranked_metrics),
        tuple(regions),
        ("rank", "team", "score", "cases", "missing_cases", *means),
        tuple(
            (
                float(result.places[i]),
                teams[i],
                float(result.scores[i]),
                len(cases),
                missing[teams[i]],
                *(column.get(teams[i]) for column in means.values()),
            )
            for i in order
        ),
        tuple(
            (
                teams[i],
                *cases[unit[0]],
                regions[unit[1]],
                ranked_metrics[unit[2]],
                None if np.isnan(values[i, u]) else float(values[i, u]),
                None if np.isnan(result.ranks[i, u]) else float(result.ranks[i, u]),
            )
            for i in range(len(teams))
            for u, unit in enumerate(units)
        ),
        tuple(problems),
    )


def _replace_missing(
    values: np.ndarray, units: Sequence[tuple[int, int, int]], metrics: Sequence[str], challenge: Challenge
) -> tuple[np.ndarray, list[Problem]]:
    """Fill gaps as the challenge says: a number per metric, the worst rank, or drop the unit."""
    rule = challenge.ranking.missing
    gaps = np.isnan(values)
    if not gaps.any() or rule == "worst":
        return values, []
    if rule == "drop":
        message = f"{int(gaps.sum())} missing scores are left out of the ranking"
        hint = "a team gains by failing on hard cases; prefer a number or `worst`"
        return values, [Problem("warning", "RUN004", message, hint)]
    filled = values.copy()
    for column, unit in enumerate(units):
        number = rule.get(metrics[unit[2]])
        if number is not None:
            filled[gaps[:, column], column] = number
    return filled, []


def _column_means(
    rows: Sequence[ScoreRow], teams: Sequence[str], regions: Sequence[str], metrics: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Mean over cases of every ranked metric and region, by team; empty values do not enter."""
    sums: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        if row.value is not None:
            sums.setdefault((f"{row.metric}_{row.region}", row.team), []).append(row.value)
    return {
        name: {team: float(np.mean(sums[name, team])) for team in teams if (name, team) in sums}
        for name in (f"{metric}_{region}" for metric in metrics for region in regions)
    }
