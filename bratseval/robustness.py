"""How far the places depend on the cases and on the scheme: bootstrap, leave one out, other schemes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from bratseval.leaderboard import best_first, standing, standings
from bratseval.ranking.rules import Ranking
from bratseval.ranking.stability import (
    bootstrap_counts,
    first_places,
    kendall_tau,
    leave_one_out_counts,
)
from bratseval.ranking.steps import quantile
from bratseval.score_grid import ScoreGrid
from bratseval.tables import BLOCK as ROWS
from bratseval.tables import csv_columns, csv_text, finite, number_texts, texts_of

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


def bootstrap_places(scores: ScoreGrid, spec: Ranking, full: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places in every bootstrap draw (teams, draws) and Kendall's tau-b against the full ranking (draws,)."""
    counts = bootstrap_counts(
        scores.grid.institutions, spec.bootstrap, spec.seed, within=spec.bootstrap_within == "institution"
    )
    drawn = _drawn(scores, spec, counts.__getitem__, len(counts))[1]
    return drawn, kendall_tau(drawn, full[:, None])


def _drawn(
    scores: ScoreGrid, spec: Ranking, counts: Callable[[slice], np.ndarray], draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Scores and places (teams, draws), in blocks of draws so that memory stays small.

    counts : the counts (draws, cases) of a slice of the draws.
    """
    of_counts = standing(scores, spec)
    blocks = [of_counts(counts(slice(i, min(i + BLOCK, draws)))) for i in range(0, draws, BLOCK)]
    return np.concatenate([n for n, _ in blocks], axis=1), np.concatenate([p for _, p in blocks], axis=1)


def stability_csv(
    scores: ScoreGrid, full: np.ndarray, drawn: np.ndarray, leave_out: Mapping[str, Any]
) -> str:
    """stability.csv: where the bootstrap and leaving one out put every team."""
    low, middle, high = (quantile(drawn, None, share)[:, 0] for share in (0.025, 0.5, 0.975))
    first = first_places(drawn).mean(axis=1)
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
            for i in range(len(scores.teams))
        ),
    )


def rank_intervals(scores: ScoreGrid, drawn: np.ndarray) -> dict[str, tuple[float, float]]:
    """By team, between which ranks the middle 95 % of the draws (teams, draws) are."""
    low, high = (quantile(drawn, None, share)[:, 0].tolist() for share in (0.025, 0.975))
    return dict(zip(scores.teams, zip(low, high, strict=True), strict=True))


def frequencies_csv(scores: ScoreGrid, drawn: np.ndarray) -> str:
    """rank_frequencies.csv: share of the draws in which a team has a rank."""
    return csv_text(
        ("team", "rank", "share"),
        (
            (scores.teams[i], float(place), float((drawn[i] == place).mean()))
            for i in range(len(scores.teams))
            for place in np.unique(drawn[i])
        ),
    )


def kendall_summary(kendall: np.ndarray) -> dict[str, Any]:
    """Kendall's tau over draws: summary, and how often each value came; where all teams tie there is none."""
    known = kendall[~np.isnan(kendall)]
    summary: dict[str, Any] = {"kendall_undefined": int(np.isnan(kendall).sum())}
    if known.size:
        summary["kendall_mean"] = float(known.mean())
        for name, share in (("q025", 0.025), ("q25", 0.25), ("median", 0.5), ("q75", 0.75), ("q975", 0.975)):
            summary[f"kendall_{name}"] = float(quantile(known, None, share)[0])
        taus, counts = np.unique(known.round(9), return_counts=True)
        summary["kendall_counts"] = [list(pair) for pair in zip(taus.tolist(), counts.tolist(), strict=True)]
    return summary


@dataclass(frozen=True, slots=True)
class LeftOut:
    """The ranking without one unit: scores and places (teams, units) by the names of the units."""

    kind: str
    names: Sequence[str]
    numbers: np.ndarray
    places: np.ndarray


def leave_one_out(scores: ScoreGrid, spec: Ranking, full: np.ndarray) -> tuple[list[LeftOut], dict[str, Any]]:
    """The ranking without each case and each institution, and who depends on one of them."""
    found: list[LeftOut] = []
    record: dict[str, Any] = {}
    kinds = [("case", np.arange(len(scores.cases)), ["/".join(filter(None, case)) for case in scores.cases])]
    if len(scores.institutions) > 1:
        kinds.append(("institution", scores.grid.institutions, list(scores.institutions)))
    for kind, groups, names in kinds:
        numbers, reached = _drawn(scores, spec, partial(leave_one_out_counts, groups), len(names))
        others_first = (first_places(reached) != first_places(full)[:, None]).any(axis=0)
        podium = full <= 3
        moved = (reached[podium] != full[podium, None]).any(axis=0)
        record[kind] = {
            "changes_winner": [name for name, other in zip(names, others_first, strict=True) if other],
            "changes_podium_share": float(moved.mean()),
            "rank_range": {
                team: [float(reached[i].min()), float(reached[i].max())]
                for i, team in enumerate(scores.teams)
            },
        }
        found.append(LeftOut(kind, names, numbers, reached))
    return found, record


def leave_one_out_csv(scores: ScoreGrid, found: Sequence[LeftOut]) -> Iterator[str]:
    """leave_one_out.csv in pieces: score and place of every team without each unit."""
    teams = texts_of(scores.teams)
    at_once = max(1, ROWS // len(teams))

    def blocks() -> Iterator[list[list[str]]]:
        for one in found:
            for start in range(0, len(one.names), at_once):
                part = slice(start, start + at_once)
                units = texts_of(one.names[part])
                yield [
                    [one.kind] * (len(units) * len(teams)),
                    [unit for unit in units for _ in teams],
                    teams * len(units),
                    *(number_texts(table[:, part].T.ravel()) for table in (one.numbers, one.places)),
                ]

    return csv_columns(("left_out", "unit", "team", "score", "rank"), blocks())


def compare_schemes(scores: ScoreGrid, spec: Ranking) -> tuple[dict[str, str], dict[str, Any], str]:
    """The ranking under other accepted schemes: tables, record, and the answer in a sentence."""
    kept = spec.model_dump(exclude={"steps", "ties", "final_ties", "combine", "per", "test"})
    schemes = {"challenge": spec} | {name: Ranking(**{**kept, **own}) for name, own in COMPARED.items()}
    ranked = {name: [table[:, 0] for table in standings(scores, one)] for name, one in schemes.items()}
    winners = {
        name: [team for team, first in zip(scores.teams, first_places(reached), strict=True) if first]
        for name, (_, reached) in ranked.items()
    }
    different = [name for name, teams in winners.items() if teams != winners["challenge"]]
    tables = {
        "schemes.csv": csv_text(
            ("scheme", "team", "score", "rank"),
            (
                (name, scores.teams[i], finite(float(numbers[i])), float(reached[i]))
                for name, (numbers, reached) in ranked.items()
                for i in best_first(reached)
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
