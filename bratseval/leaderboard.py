"""The complete table to a leaderboard: places, scores, and the ranks behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem
from bratseval.model import Cell
from bratseval.ranking.rules import Ranking
from bratseval.ranking.schemes import case_ranks, score
from bratseval.ranking.steps import aggregate, combine, rank
from bratseval.score_grid import ScoreGrid, build_grid
from bratseval.tables import PENALIZED, ScoreRow, column_name, csv_text, finite


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The ranked teams, best first, baselines last, and the ranks behind the score."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    rank_rows: tuple[tuple[Cell, ...], ...]
    problems: tuple[Problem, ...]
    scores: ScoreGrid
    places: np.ndarray  # (teams,) in the order of scores.teams

    @property
    def leaderboard_csv(self) -> str:
        """leaderboard.csv."""
        return csv_text(self.columns, self.rows)

    @property
    def ranks_csv(self) -> str:
        """ranks.csv: the rank of every team in every case, region and metric."""
        return csv_text(("team", "institution", "case", "region", "metric", "value", "rank"), self.rank_rows)

    def with_column(self, name: str, cells: Mapping[str, Cell]) -> Leaderboard:
        """The same with one more column, by team."""
        rows = tuple((*row, cells.get(str(row[1]))) for row in self.rows)
        return replace(self, columns=(*self.columns, name), rows=rows)


def rank_teams(rows: Sequence[ScoreRow], challenge: Challenge) -> Leaderboard:
    """Rank the teams by the challenge's scheme.

    The grid team x case x region x metric is completed first: an absent row is a missing value.
    Raises UsageError when there is nothing to rank.
    """
    spec = challenge.ranking
    scores, problems = build_grid(rows, challenge)
    numbers, reached = (table[:, 0] for table in standings(scores, spec))
    if np.isinf(numbers).any():
        names = ", ".join(
            team for team, number in zip(scores.teams, numbers, strict=True) if np.isinf(number)
        )
        message = f"the score of {names} is infinite; its place counts, its cell stays empty"
        hint = "give such cases a finite penalty before ranking, or rank within cases"
        problems.append(Problem("warning", "RUN007", message, hint))
    shown = scores.by_metric
    columns = [scores.columns[k] for k in shown]
    means = {
        team: [finite(mean) for mean in row[shown]]
        for team, row in zip(scores.teams, case_means(scores, spec), strict=True)
    }
    missing = missing_counts(rows)
    cases = sum(bool(case) for _, case in scores.cases)
    if not cases:  # only numbers over all cases are ranked, or there are tables instead of cases
        cases = len({(row.institution, row.case) for row in rows if row.case})
    if not cases:
        cases, missing = subject_counts(rows)
    baselines = sorted({row.team for row in rows} & set(spec.baselines))
    table: list[tuple[Cell, ...]] = [
        (float(reached[i]), scores.teams[i], finite(numbers[i]), cases, missing.get(scores.teams[i], 0))
        for i in best_first(reached)
    ]
    table += [(None, team, None, cases, missing.get(team, 0)) for team in baselines]
    means |= {team: _means_of_rows(rows, team, columns) for team in baselines}
    return Leaderboard(
        ("rank", "team", "score", "cases", "missing_cases", *(column_name(*column) for column in columns)),
        tuple((*row, *means[str(row[1])]) for row in table),
        _rank_rows(scores, spec),
        tuple(problems),
        scores,
        reached,
    )


def standings(
    scores: ScoreGrid, spec: Ranking, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Score and place of every team, ties broken: two (teams, draws); counts as in `score`."""
    numbers, small = score(scores.grid, spec, counts)
    keys = [numbers if small else -numbers]
    for grid, statistic in scores.breakers:
        by_column = aggregate(grid.for_means(spec.missing), counts, statistic)
        smaller = np.ones(len(grid.smaller), bool) if statistic == "std" else grid.smaller
        oriented = np.where(smaller[:, None], by_column, -by_column)
        keys.append(combine(oriented, np.ones(len(smaller)), "mean", axis=1))
    order = np.zeros(numbers.shape)
    for key in keys:
        order = order * (len(order) + 1) + rank(key, "dense")
        order = rank(order, "dense")
    return numbers, rank(order, spec.plan.final_ties or "min")


def best_first(places: np.ndarray) -> list[int]:
    """Teams (sorted by name, as in a grid) from the first to the last place, by name within a place."""
    order: list[int] = np.argsort(places, kind="stable").tolist()
    return order


def missing_counts(rows: Iterable[ScoreRow]) -> dict[str, int]:
    """Number of cases per team that something went wrong with."""
    found = {(row.team, row.institution, row.case) for row in rows if row.case and row.status in PENALIZED}
    return dict(Counter(team for team, _, _ in found))


def subject_counts(rows: Iterable[ScoreRow]) -> tuple[int, dict[str, int]]:
    """Number of subjects, and of those that each team lacks, where teams hand in tables instead of cases."""
    rows = list(rows)
    of_site: dict[str, int] = {}
    for row in rows:
        if row.metric == "subjects":
            of_site[row.institution] = max(int(row.value or 0), of_site.get(row.institution, 0))
    missing: Counter[str] = Counter()
    for row in rows:
        if row.metric == "missing_subjects":
            lost = of_site.get(row.institution, 0) if row.status in PENALIZED else int(row.value or 0)
            missing[row.team] += lost
    return sum(of_site.values()), dict(missing)


def case_means(scores: ScoreGrid, spec: Ranking) -> np.ndarray:
    """Mean over cases (teams, columns), missing values as the ranking counts them; nan where none is."""
    values = scores.grid.for_means(spec.missing)
    result = np.full(values.shape[:2], np.nan)
    for team, column in np.ndindex(*result.shape):
        present = values[team, column][~np.isnan(values[team, column])]
        if present.size:
            # A metric of the whole cohort stands in every case; the mean of equal values would add noise.
            alike = scores.grid.cohort[column] and (present == present[0]).all()
            result[team, column] = present[0] if alike else present.mean()
    return result


def _means_of_rows(
    rows: Iterable[ScoreRow], team: str, columns: Sequence[tuple[str, str]]
) -> list[float | None]:
    """Means of a team that is not ranked: of the values it has."""
    values: dict[tuple[str, str], list[float]] = {column: [] for column in columns}
    for row in rows:
        if row.team == team and row.value is not None and (row.region, row.metric) in values:
            values[row.region, row.metric].append(row.value)
    return [finite(float(np.mean(members))) if members else None for members in values.values()]


def _rank_rows(scores: ScoreGrid, spec: Ranking) -> tuple[tuple[Cell, ...], ...]:
    """Rows of ranks.csv, for schemes that rank within cases."""
    if spec.plan.steps[0] != "rank":
        return ()
    ranks = case_ranks(scores.grid, spec, spec.plan)
    values = scores.grid.values
    known = np.logical_not(scores.grid.empty.all(axis=0))
    return tuple(
        (
            team,
            *case,
            *column,
            finite(values[i, k, j]),
            finite(ranks[i, k, j]),
        )
        for i, team in enumerate(scores.teams)
        for j, case in enumerate(scores.cases)
        for k, column in enumerate(scores.columns)
        if known[k, j]
    )
