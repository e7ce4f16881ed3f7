"""The BraTS scheme: rank per case, region and metric, then average ("final ranking score").

Bakas et al. 2018 (arXiv 1811.02629) and the later summary papers: teams are ranked for each case,
region and metric; the mean of a team's ranks in a case is its cumulative rank there; the mean of
the cumulative ranks over cases is its score; the smallest score wins.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bratseval.ranking.steps import Ties, rank


@dataclass(frozen=True, slots=True)
class Ranked:
    """scores (teams,), places (teams,) and the ranks (teams, units) behind them."""

    scores: np.ndarray
    places: np.ndarray
    ranks: np.ndarray


def rank_brats(
    values: np.ndarray, cases: np.ndarray, smaller_is_better: np.ndarray, ties: Ties, drop_missing: bool
) -> Ranked:
    """Rank teams by the BraTS scheme.

    values : (teams, units) float64, nan where missing: ranked last, or left out with ``drop_missing``.
    cases : (units,) int, index of each unit's case; every case weighs the same.
    smaller_is_better : (units,) bool.
    """
    ranks = rank(np.where(smaller_is_better, values, -values), ties)
    if drop_missing:
        ranks[np.isnan(values)] = np.nan
    by_case = np.stack(
        [_mean_where_present(ranks[:, cases == case]) for case in range(cases.max() + 1)], axis=1
    )
    scores = _mean_where_present(by_case)
    return Ranked(scores, rank(scores[:, None], "min")[:, 0], ranks)


def _mean_where_present(table: np.ndarray) -> np.ndarray:
    """Mean over the second axis, leaving nan out; nan where nothing is left."""
    present = ~np.isnan(table)
    with np.errstate(invalid="ignore"):
        return np.where(present, table, 0.0).sum(axis=1) / present.sum(axis=1)
