"""A ranking scheme at work: a grid of scores and a plan of steps to a score for every team."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from bratseval.ranking.rules import Ranking, Scheme
from bratseval.ranking.significance import adjust, wilcoxon
from bratseval.ranking.steps import after_largest, aggregate, combine, how_many, rank


@dataclass(frozen=True, slots=True)
class Grid:
    """The complete table team x column x case; a column is one ranked region x metric.

    values : (teams, columns, cases) float64, nan where there is none.
    empty : bool, same shape: rightly without a value (nothing to measure on either side).
    smaller, cohort : (columns,) bool: small is better; one value for the whole cohort, which stands
    in every case. weights, best, worst : (columns,); best is nan where the metric has no bound, worst is
    then the worst value in the whole table.
    institutions : (cases,) int, from 0.
    """

    values: np.ndarray
    empty: np.ndarray
    smaller: np.ndarray
    cohort: np.ndarray
    weights: np.ndarray
    best: np.ndarray
    worst: np.ndarray
    institutions: np.ndarray

    @property
    def missing(self) -> np.ndarray:
        """bool (teams, columns, cases): no value although there should be one."""
        return np.isnan(self.values) & ~self.empty

    @property
    def limit(self) -> np.ndarray:
        """Best value of every column, infinite where the metric has no bound: (columns,)."""
        return np.where(np.isnan(self.best), np.where(self.smaller, -np.inf, np.inf), self.best)

    @property
    def sites(self) -> list[np.ndarray]:
        """Indices of the cases of every institution."""
        return [np.flatnonzero(self.institutions == site) for site in range(self.institutions.max() + 1)]

    def of_cases(self, chosen: np.ndarray) -> Grid:
        """The grid of some cases: (cases,) bool or indices."""
        _, institutions = np.unique(self.institutions[chosen], return_inverse=True)
        return replace(
            self,
            values=self.values[:, :, chosen],
            empty=self.empty[:, :, chosen],
            institutions=institutions,
        )

    def of_teams(self, chosen: list[int]) -> Grid:
        """The grid of some teams."""
        return replace(self, values=self.values[chosen], empty=self.empty[chosen])

    def for_ranks(self) -> np.ndarray:
        """Values to compare within a case, small is better; nan where a value is missing.

        Where one team has a value or misses one, those that rightly have none hold the best there is:
        they must not rank behind a failure.
        """
        contested = ~self.empty.all(axis=0)
        filled = np.where(self.empty & contested, self.limit[:, None], self.values)
        return np.where(self.smaller[:, None], filled, -filled)

    def for_means(self, missing: object) -> np.ndarray:
        """Values to aggregate or to test: rightly empty ones left out, missing ones the worst or dropped."""
        return self.values if missing == "drop" else np.where(self.missing, self.worst[:, None], self.values)


def score(grid: Grid, ranking: Ranking, counts: np.ndarray | None = None) -> tuple[np.ndarray, bool]:
    """Score of every team, and whether a small one is better.

    counts : (draws, cases) how often each case counts, None for every case once.
    Returns (teams, draws).
    """
    return scoring(grid, ranking)(counts)


Scored = Callable[[np.ndarray | None], tuple[np.ndarray, bool]]


def scoring(grid: Grid, ranking: Ranking) -> Scored:
    """`score` of a grid for any counts; ranks within cases do not depend on them and are made once."""
    plan = ranking.plan
    if not plan.per_institution:
        return _scoring(grid, ranking, plan)
    inside = replace(plan, single_column_is_aggregate=False)
    parts = [(members, _scoring(grid.of_cases(members), ranking, inside)) for members in grid.sites]

    def mean_of_sites(counts: np.ndarray | None) -> tuple[np.ndarray, bool]:
        total: np.ndarray | float = 0.0
        present: np.ndarray | float = 0.0
        for members, scored in parts:
            own = None if counts is None else counts[:, members]
            found, _ = scored(own)
            here = np.ones(1) if own is None else (own.sum(axis=1) > 0).astype(np.float64)
            total = total + np.where(here > 0, found, 0.0)
            present = present + here
        with np.errstate(invalid="ignore"):
            return np.asarray(total / present), True

    return mean_of_sites


def _scoring(grid: Grid, ranking: Ranking, plan: Scheme) -> Scored:
    """The steps of a plan: (teams, columns, cases) shrinks to (teams, draws)."""
    alone = plan.single_column_is_aggregate and len(grid.smaller) == 1
    first, *others = plan.steps
    begin = _FIRST[first](grid, ranking, plan)

    def scored(counts: np.ndarray | None) -> tuple[np.ndarray, bool]:
        table, smaller, weights = begin(counts)
        for step in others:
            if step == "aggregate":
                table = aggregate(table, counts, ranking.aggregate)
            elif step == "combine":
                table = combine(table, weights, plan.combine, axis=1)[:, None]
            elif not alone:
                table = rank(np.where(smaller[:, None], table, -table), plan.ties)
                smaller = np.ones(len(smaller), bool)
        return table[:, 0], bool(smaller[0])

    return scored


# A table (teams, columns, cases or draws), whether small is better, and the weights of the columns.
Ranked = tuple[np.ndarray, np.ndarray, np.ndarray]
Begin = Callable[[np.ndarray | None], Ranked]


def _ranked(grid: Grid, ranking: Ranking, plan: Scheme) -> Begin:
    ranked = case_ranks(grid, ranking, plan), np.ones(len(grid.smaller), bool), grid.weights
    return lambda counts: ranked


def _tested(grid: Grid, ranking: Ranking, plan: Scheme) -> Begin:
    large = np.zeros(len(grid.smaller), bool)
    return lambda counts: (wins(grid, ranking, plan, counts), large, grid.weights)


def _aggregated(grid: Grid, ranking: Ranking, plan: Scheme) -> Begin:
    """A team that rightly has no value in any case must not stand behind one that failed there."""
    values = grid.for_means(ranking.missing)

    def of_counts(counts: np.ndarray | None) -> Ranked:
        nothing = how_many(~grid.empty, counts) == 0
        table = np.where(nothing, grid.limit[:, None], aggregate(values, counts, ranking.aggregate))
        if not plan.spread:
            return table, grid.smaller, grid.weights
        spread = np.where(nothing, 0.0, aggregate(values, counts, ranking.spread))
        smaller = np.concatenate([grid.smaller, np.ones(len(grid.smaller), bool)])
        return np.concatenate([table, spread], axis=1), smaller, np.tile(grid.weights, 2)

    return of_counts


_FIRST = {"rank": _ranked, "aggregate": _aggregated, "test": _tested}


def case_ranks(grid: Grid, ranking: Ranking, plan: Scheme) -> np.ndarray:
    """Ranks within every case and column: (teams, columns, cases), nan where none is given."""
    values = grid.for_ranks()
    ranks = rank(values, plan.ties)
    if plan.missing_after == "largest_rank":
        ranks = after_largest(ranks, np.isnan(values), plan.ties)
    ranks[:, grid.empty.all(axis=0)] = np.nan
    if ranking.missing == "drop":
        ranks[grid.missing] = np.nan
    elif ranking.missing == "rank_zero":
        ranks[grid.missing] = 0.0
    return ranks


def cumulative_ranks(grid: Grid, ranking: Ranking) -> np.ndarray:
    """A team's rank in a case over all columns that were measured there: (teams, cases)."""
    plan = ranking.plan
    measured = ~grid.cohort
    ranks = case_ranks(grid, ranking, plan)[:, measured]
    return combine(ranks, grid.weights[measured], plan.combine, axis=1)


def wilcoxon_of_columns(grid: Grid, ranking: Ranking, counts: np.ndarray | None = None) -> np.ndarray:
    """p-values of all ordered pairs in each column: (teams, teams, columns, draws).

    A cohort metric has no cases to test: p is 1.
    """
    values = grid.for_means(ranking.missing)
    compared = grid.for_ranks()
    values = np.where(grid.empty, compared, np.where(grid.smaller[:, None], values, -values))
    return np.stack(
        [
            np.where(grid.cohort[column], 1.0, wilcoxon(values[:, column], counts))
            for column in range(values.shape[1])
        ],
        axis=2,
    )


def wins(grid: Grid, ranking: Ranking, plan: Scheme, counts: np.ndarray | None = None) -> np.ndarray:
    """Share (or number) of the other teams that each beats: (teams, columns, draws)."""
    p_values = adjust(wilcoxon_of_columns(grid, ranking, counts), ranking.adjust or "none")
    beaten = (p_values <= ranking.alpha).sum(axis=1).astype(np.float64)
    return beaten if plan.count_wins else beaten / max(len(beaten) - 1, 1)
