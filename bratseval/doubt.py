"""How much a leaderboard can be trusted: tests between teams, stability, other schemes, strata.

Every function takes the leaderboard's grid and gives the rows of one table; `examine` calls those
that the challenge and the command ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from bratseval.challenge import Challenge
from bratseval.leaderboard import Leaderboard, places
from bratseval.ranking.rules import Ranking
from bratseval.ranking.schemes import cumulative_ranks, score, wilcoxon_of_columns
from bratseval.ranking.significance import (
    Permuted,
    adjust,
    permutation_test,
    permutation_test_of_means,
    tiers,
    wilcoxon,
)
from bratseval.ranking.stability import bootstrap_counts, kendall_tau, leave_one_out_counts
from bratseval.ranking.steps import combine, quantile
from bratseval.score_grid import ScoreGrid
from bratseval.tables import Cell, csv_text, finite

BLOCK = 500  # draws ranked at a time

# What --compare-schemes sets side by side, beside the challenge's own scheme.
COMPARED: dict[str, dict[str, str]] = {
    "aggregate_then_rank (mean)": {"scheme": "aggregate_then_rank", "aggregate": "mean"},
    "aggregate_then_rank (median)": {"scheme": "aggregate_then_rank", "aggregate": "median"},
    "rank_then_aggregate (mean)": {"scheme": "rank_then_aggregate", "aggregate": "mean"},
    "rank_then_aggregate (median)": {"scheme": "rank_then_aggregate", "aggregate": "median"},
    "test_then_rank": {"scheme": "test_then_rank"},
    "brats": {"scheme": "brats", "aggregate": "mean"},
    "brats_mean": {"scheme": "brats_mean", "aggregate": "mean"},
}


@dataclass(frozen=True, slots=True)
class Doubt:
    """Tables beside the leaderboard (file name -> text), the facts for run.json, and sentences."""

    tables: Mapping[str, str]
    record: Mapping[str, Any]
    tiers: Mapping[str, int]
    sentences: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Significance:
    """Tests of all ordered pairs: (teams, teams) matrices, and how they were made."""

    p_values: np.ndarray
    adjusted: np.ndarray
    test: str
    how: Mapping[str, Any]


def examine(
    board: Leaderboard, challenge: Challenge, *, seed: int | None = None, compare: bool = False
) -> Doubt:
    """Everything that shows the doubt beside the ranks of a leaderboard."""
    spec = challenge.ranking if seed is None else challenge.ranking.model_copy(update={"seed": seed})
    scores = board.scores
    order = sorted(range(len(scores.teams)), key=lambda i: (board.places[i], scores.teams[i]))
    tables: dict[str, str] = {}
    record: dict[str, Any] = {}
    tier_of: dict[str, int] = {}
    sentences: list[str] = []
    has_cases = any(case for _, case in scores.cases)
    if len(scores.teams) > 1 and has_cases:
        pairwise = superiority_rows(scores, spec)
        found = significance(scores, spec)
        if found is not None:
            beats = np.where(np.isnan(found.adjusted), False, found.adjusted <= spec.alpha)
            tables["significance.csv"] = _significance_csv(scores, order, found, beats, pairwise)
            tier_of = dict(zip(scores.teams, tiers(order, beats).tolist(), strict=True))
            record["significance"] = {
                "test": found.test,
                "alpha": spec.alpha,
                "tiers": "a team opens a new tier when the tier's first team beats it (p_adjusted <= alpha)",
                **found.how,
            }
        tables["superiority.csv"] = csv_text(
            ("institution", "region", "metric", "team", "other", "p_value", "p_adjusted", "significant"),
            pairwise,
        )
    if len(scores.teams) > 1 and len(scores.cases) > 1:
        rows, leave_out = leave_one_out(scores, spec, board.places)
        tables["leave_one_out.csv"] = csv_text(("left_out", "unit", "team", "score", "rank"), rows)
        record["leave_one_out"] = leave_out
        if spec.bootstrap:
            drawn, kendall = bootstrap_places(scores, spec, board.places)
            tables["stability.csv"] = _stability_csv(scores, order, board.places, drawn, leave_out)
            tables["rank_frequencies.csv"] = _frequencies_csv(scores, order, drawn)
            record["bootstrap"] = {
                "draws": spec.bootstrap,
                "within": spec.bootstrap_within,
                **_spread(kendall),
            }
    if compare:
        tables |= (compared := compare_schemes(scores, spec, board.places))[0]
        record["schemes"] = compared[1]
        sentences.append(compared[2])
    return Doubt(tables, record, tier_of, tuple(sentences))


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
    if plan.test == "wilcoxon" and (len(testable) == 1 or spec.test == "wilcoxon"):
        alone = len(testable) == 1
        p_values = (
            wilcoxon_of_columns(grid, spec)[0][:, :, testable[0], 0]
            if alone
            else wilcoxon(cumulative_ranks(grid, spec))[..., 0]
        )
        values = "scores" if alone else "cumulative ranks within cases"
        return Significance(
            p_values, adjust(p_values, method), "wilcoxon", {"adjust": method, "values": values}
        )
    if not spec.permutations:
        return None
    pairs = list(combinations(range(len(scores.teams)), 2))
    of_means = plan.steps[0] == "aggregate" and spec.aggregate == "mean" and not plan.spread
    if of_means and not plan.per_institution and spec.permutation_ranks == "all":
        permuted = _permute_means(scores, spec, testable, pairs)
    else:
        of_means = False
        permuted = _permute_ranks(scores, spec, pairs)
    how = {
        "adjust": method,
        "statistic": "difference of the scores formed anew from the means"
        if of_means
        else "mean over cases of the difference of the cumulative ranks",
        "ranks": spec.permutation_ranks,
        "permutations": permuted.permutations,
        "exact": permuted.exact,
        "seed": spec.seed,
    }
    return Significance(permuted.p_values, adjust(permuted.p_values, method), "permutation", how)


def _permute_ranks(scores: ScoreGrid, spec: Ranking, pairs: Sequence[tuple[int, int]]) -> Permuted:
    if spec.permutation_ranks == "all":
        ranks = cumulative_ranks(scores.grid, spec)
        differences = np.array([ranks[a] - ranks[b] for a, b in pairs])
    else:
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
    for institution, part in _parts(scores, spec):
        p_values, adjusted = (table[..., 0] for table in wilcoxon_of_columns(part.grid, spec))
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
                for a in range(len(scores.teams))
                for b in range(len(scores.teams))
                if a != b
            ]
    return rows


def _parts(scores: ScoreGrid, spec: Ranking) -> list[tuple[str, ScoreGrid]]:
    if not spec.plan.per_institution:
        return [("", scores)]
    return [
        (name, scores.of_cases(np.flatnonzero(scores.grid.institutions == index)))
        for index, name in enumerate(scores.institutions)
    ]


def _significance_csv(
    scores: ScoreGrid,
    order: Sequence[int],
    found: Significance,
    beats: np.ndarray,
    pairwise: Sequence[tuple[Cell, ...]],
) -> str:
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
                int(beats[a, b]),
                found.test,
                counted.get((scores.teams[a], scores.teams[b]), 0),
            )
            for a in order
            for b in order
            if a != b
        ),
    )


def bootstrap_places(scores: ScoreGrid, spec: Ranking, full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in every bootstrap draw (teams, draws) and Kendall's tau-b against the full ranking (draws,)."""
    counts = bootstrap_counts(
        scores.grid.institutions, spec.bootstrap, spec.seed, within=spec.bootstrap_within == "institution"
    )
    drawn = np.concatenate(
        [places(scores, spec, counts[start : start + BLOCK]) for start in range(0, len(counts), BLOCK)],
        axis=1,
    )
    return drawn, kendall_tau(drawn, full[:, None])


def _stability_csv(
    scores: ScoreGrid,
    order: Sequence[int],
    full: np.ndarray,
    drawn: np.ndarray,
    leave_out: Mapping[str, Any],
) -> str:
    once = np.ones((1, drawn.shape[1]), np.int64)
    low, middle, high = (quantile(drawn, once, share)[:, 0] for share in (0.025, 0.5, 0.975))
    first = (drawn == drawn.min(axis=0)).mean(axis=1)
    same = (drawn == full[:, None]).mean(axis=1)
    ranges = [name for name in ("case", "institution") if name in leave_out]
    return csv_text(
        (
            *("team", "rank", "mean_rank", "median_rank", "rank_q025", "rank_q975", "first_share"),
            "same_rank_share",
            *(f"leave_one_{name}_out_{end}" for name in ranges for end in ("min", "max")),
        ),
        (
            (
                scores.teams[i],
                float(full[i]),
                *(float(column[i]) for column in (drawn.mean(axis=1), middle, low, high, first, same)),
                *(leave_out[name]["rank_range"][scores.teams[i]][end] for name in ranges for end in (0, 1)),
            )
            for i in order
        ),
    )


def _frequencies_csv(scores: ScoreGrid, order: Sequence[int], drawn: np.ndarray) -> str:
    return csv_text(
        ("team", "rank", "share"),
        (
            (scores.teams[i], float(place), float((drawn[i] == place).mean()))
            for i in order
            for place in np.unique(drawn[i])
        ),
    )


def _spread(kendall: np.ndarray) -> dict[str, Any]:
    """Summary of Kendall's tau over draws; draws in which all teams tie have none."""
    known = kendall[~np.isnan(kendall)]
    summary: dict[str, Any] = {"kendall_undefined": int(np.isnan(kendall).sum())}
    if known.size:
        once = np.ones((1, known.size), np.int64)
        summary["kendall_mean"] = float(known.mean())
        for name, share in (("q025", 0.025), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("q975", 0.975)):
            summary[f"kendall_{name}"] = float(quantile(known, once, share)[0])
    return summary


def leave_one_out(
    scores: ScoreGrid, spec: Ranking, full: np.ndarray
) -> tuple[list[tuple[Cell, ...]], dict[str, Any]]:
    """Rows of leave_one_out.csv, and who depends on one case or one institution."""
    rows: list[tuple[Cell, ...]] = []
    record: dict[str, Any] = {}
    first = set(np.flatnonzero(full == full.min()).tolist())
    kinds = [("case", np.arange(len(scores.cases)), ["/".join(filter(None, case)) for case in scores.cases])]
    if len(scores.institutions) > 1:
        kinds.append(("institution", scores.grid.institutions, list(scores.institutions)))
    for kind, groups, names in kinds:
        counts = leave_one_out_counts(groups)
        reached = np.concatenate(
            [places(scores, spec, counts[i : i + BLOCK]) for i in range(0, len(counts), BLOCK)], axis=1
        )
        numbers = np.concatenate(
            [score(scores.grid, spec, counts[i : i + BLOCK])[0] for i in range(0, len(counts), BLOCK)], axis=1
        )
        winners = [
            names[draw]
            for draw in range(len(names))
            if set(np.flatnonzero(reached[:, draw] == reached[:, draw].min()).tolist()) != first
        ]
        podium = full <= 3
        moved = (reached[podium] != full[podium, None]).any(axis=0)
        record[kind] = {
            "changes_winner": winners,
            "changes_podium_share": float(moved.mean()),
            "rank_range": {
                team: [float(reached[i].min()), float(reached[i].max())]
                for i, team in enumerate(scores.teams)
            },
        }
        rows += [
            (kind, names[draw], team, finite(float(numbers[i, draw])), float(reached[i, draw]))
            for draw in range(len(names))
            for i, team in enumerate(scores.teams)
        ]
    return rows, record


def compare_schemes(
    scores: ScoreGrid, spec: Ranking, full: np.ndarray
) -> tuple[dict[str, str], dict[str, Any], str]:
    """The ranking under other accepted schemes: tables, record, and the answer in a sentence."""
    ranked: dict[str, tuple[np.ndarray, np.ndarray]] = {
        "challenge": (score(scores.grid, spec)[0][:, 0], full)
    }
    for name, settings in COMPARED.items():
        other = spec.model_copy(
            update={"ties": None, "final_ties": None, "combine": None, "steps": [], "per": None, **settings}
        )
        ranked[name] = (score(scores.grid, other)[0][:, 0], places(scores, other)[:, 0])
    winners = {
        name: [scores.teams[i] for i in np.flatnonzero(reached == reached.min())]
        for name, (_, reached) in ranked.items()
    }
    different = [name for name, teams in winners.items() if teams != winners["challenge"]]
    tables = {
        "schemes.csv": csv_text(
            ("scheme", "team", "score", "rank"),
            (
                (name, scores.teams[i], finite(float(numbers[i])), float(reached[i]))
                for name, (numbers, reached) in ranked.items()
                for i in np.lexsort((np.arange(len(reached)), reached))
            ),
        ),
        "agreement.csv": csv_text(
            ("scheme", "other", "kendall", "same_winner"),
            (
                (
                    one,
                    two,
                    finite(float(kendall_tau(ranked[one][1], ranked[two][1]))),
                    int(winners[one] == winners[two]),
                )
                for one, two in combinations(ranked, 2)
            ),
        ),
    }
    crowned = ", ".join(winners["challenge"])
    if different:
        others = "; ".join(f"{name}: {', '.join(winners[name])}" for name in different)
        sentence = f"another accepted scheme would crown another winner than {crowned}: {others}"
    else:
        sentence = f"{crowned} wins under all {len(COMPARED)} other schemes too"
    return tables, {"winners": winners, "changes_winner": different}, sentence
