"""Tests between teams: which of two is better, over the whole ranking and in every region and metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np

from bratseval.model import Cell
from bratseval.ranking.rules import Ranking
from bratseval.ranking.schemes import Grid, cumulative_ranks, wilcoxon_of_columns
from bratseval.ranking.significance import (
    Permuted,
    adjust,
    permutation_test,
    permutation_test_of_means,
    permutation_test_of_ranks,
    wilcoxon,
)
from bratseval.ranking.steps import combine
from bratseval.score_grid import ScoreGrid
from bratseval.tables import csv_text

SUPERIORITY_COLUMNS = (
    *("institution", "region", "metric", "team", "other", "p_value", "p_adjusted", "significant"),
)


@dataclass(frozen=True, slots=True)
class Significance:
    """Tests of all ordered pairs: (teams, teams) matrices, and how they were made."""

    p_values: np.ndarray
    adjusted: np.ndarray
    test: str
    how: Mapping[str, Any]


def significance(scores: ScoreGrid, spec: Ranking) -> Significance | None:
    """The test that belongs to the scheme, for every ordered pair; None when permutations is 0.

    Wilcoxon where one region and metric is ranked by a scheme of challengeR's kind; else the BraTS
    permutation test, over the means where the scheme aggregates first and over the cumulative ranks
    within cases otherwise.
    """
    grid, plan = scores.grid, spec.plan
    method = spec.adjust or "holm"
    testable = np.flatnonzero(~grid.cohort)
    if not testable.size:
        return None
    alone = len(testable) == 1
    if plan.test == "wilcoxon" and (alone or spec.test == "wilcoxon"):
        if alone:
            p_values = wilcoxon_of_columns(grid, spec)[:, :, testable[0], 0]
        else:
            p_values = wilcoxon(cumulative_ranks(grid, spec))[..., 0]
        values = "scores" if alone else "cumulative ranks within cases"
        how: dict[str, Any] = {"adjust": method, "values": values}
        return Significance(p_values, adjust(p_values, method), "wilcoxon", how)
    if not spec.permutations:
        return None
    pairs = list(combinations(range(len(scores.teams)), 2))
    of_means = (
        plan.steps[0] == "aggregate"
        and spec.aggregate == "mean"
        and not (plan.spread or plan.per_institution)
        and spec.permutation_ranks == "all"
    )
    if of_means:
        permuted = _permute_means(scores, spec, testable, pairs)
        statistic = "difference of the scores formed anew from the means"
    else:
        permuted = _permute_ranks(scores, spec, pairs)
        statistic = "mean over cases of the difference of the cumulative ranks"
    how = {
        "adjust": method,
        "statistic": statistic,
        "ranks": spec.permutation_ranks,
        "permutations": permuted.permutations,
        "exact": permuted.exact,
        "seed": spec.seed,
    }
    return Significance(permuted.p_values, adjust(permuted.p_values, method), "permutation", how)


def _permute_ranks(scores: ScoreGrid, spec: Ranking, pairs: Sequence[tuple[int, int]]) -> Permuted:
    if spec.permutation_ranks == "all":
        return permutation_test_of_ranks(
            cumulative_ranks(scores.grid, spec), pairs, spec.permutations, spec.seed
        )
    differences = np.array(
        [np.subtract(*cumulative_ranks(scores.grid.of_teams([a, b]), spec)) for a, b in pairs]
    )
    return permutation_test(differences, pairs, spec.permutations, spec.seed)


def _permute_means(
    scores: ScoreGrid, spec: Ranking, columns: np.ndarray, pairs: Sequence[tuple[int, int]]
) -> Permuted:
    grid, how = scores.grid, spec.plan.combine
    weights = grid.weights[columns]

    def joined(ranks: np.ndarray) -> np.ndarray:
        return combine(ranks, weights, how, axis=1)

    values = grid.for_means(spec.missing)[:, columns]
    return permutation_test_of_means(
        values, grid.smaller[columns], joined, pairs, spec.permutations, spec.seed
    )


def superiority_rows(scores: ScoreGrid, spec: Ranking) -> list[tuple[Cell, ...]]:
    """Wilcoxon tests of every ordered pair in every region and metric, within institutions if ranked so."""
    rows: list[tuple[Cell, ...]] = []
    for institution, grid in _parts(scores, spec):
        p_values = wilcoxon_of_columns(grid, spec)[..., 0]
        adjusted = adjust(p_values, spec.adjust or "holm")
        for k, column in enumerate(scores.columns):
            if scores.grid.cohort[k]:
                continue
            rows += [
                (
                    institution,
                    *column,
                    scores.teams[a],
                    scores.teams[b],
                    float(p_values[a, b, k]),
                    float(adjusted[a, b, k]),
                    int(adjusted[a, b, k] <= spec.alpha),
                )
                for a, b in permutations(range(len(scores.teams)), 2)
            ]
    return rows


def _parts(scores: ScoreGrid, spec: Ranking) -> list[tuple[str, Grid]]:
    if not spec.plan.per_institution:
        return [("", scores.grid)]
    sites = zip(scores.institutions, scores.grid.sites, strict=True)
    return [(name, scores.grid.of_cases(members)) for name, members in sites]


def significance_csv(
    scores: ScoreGrid, found: Significance, alpha: float, pairwise: Sequence[tuple[Cell, ...]]
) -> str:
    """significance.csv: one row per ordered pair; superiorities counts the rows of superiority.csv."""
    counted: dict[tuple[Cell, Cell], int] = {}
    for _, _, _, team, other, _, _, decided in pairwise:
        counted[team, other] = counted.get((team, other), 0) + int(decided or 0)
    return csv_text(
        ("team", "other", "p_value", "p_adjusted", "significant", "test", "superiorities"),
        (
            (
                scores.teams[a],
                scores.teams[b],
                float(found.p_values[a, b]),
                float(found.adjusted[a, b]),
                int(found.adjusted[a, b] <= alpha),
                found.test,
                counted.get((scores.teams[a], scores.teams[b]), 0),
            )
            for a, b in permutations(range(len(scores.teams)), 2)
        ),
    )
