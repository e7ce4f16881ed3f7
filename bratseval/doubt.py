"""How much a leaderboard can be trusted: every table and sentence that stands beside the places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem
from bratseval.leaderboard import Leaderboard, best_first
from bratseval.pairwise import SUPERIORITY_COLUMNS, significance, significance_csv, superiority_rows
from bratseval.ranking.rules import Ranking
from bratseval.ranking.significance import tiers
from bratseval.ranking.stability import first_places
from bratseval.robustness import (
    bootstrap_places,
    compare_schemes,
    frequencies_csv,
    kendall_summary,
    leave_one_out,
    leave_one_out_csv,
    rank_intervals,
    stability_csv,
)
from bratseval.tables import csv_text
from bratseval.text_tables import shortened

MOST_NAMED = 10  # teams in a sentence
# Teams of which every pair is tested: 150 take half a minute and 2 GB, and both grow with the square.
MOST_PAIRED = 150


@dataclass(slots=True)
class Doubt:
    """Tables (name -> text or pieces), facts for run.json, tiers by team, and sentences for the screen.

    intervals: by team, between which ranks the middle 95 % of the bootstrap draws are.
    """

    tables: dict[str, str | Iterable[str]] = field(default_factory=dict)
    record: dict[str, Any] = field(default_factory=dict)
    tiers: Mapping[str, int] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    sentences: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def examine(
    board: Leaderboard, challenge: Challenge, *, seed: int | None = None, compare: bool = False
) -> Doubt:
    """Everything that shows the doubt beside the places of a leaderboard."""
    spec = challenge.ranking if seed is None else challenge.ranking.model_copy(update={"seed": seed})
    doubt = Doubt()
    scores = board.scores
    if len(scores.teams) < 2:
        return doubt
    if len(scores.teams) > MOST_PAIRED:
        message = (
            f"pairs of teams are tested for up to {MOST_PAIRED} teams, here are {len(scores.teams)}: "
            "there are no tiers, no significance.csv and no superiority.csv"
        )
        hint = "rank a table of fewer teams, such as the first of this leaderboard, to have them"
        doubt.problems.append(Problem("note", "RUN021", message, hint))
    elif any(case for _, case in scores.cases):
        _test_pairs(doubt, board, spec)
    if len(scores.cases) > 1:
        _vary_cases(doubt, board, spec)
    if compare:
        tables, doubt.record["schemes"], sentence = compare_schemes(scores, spec)
        doubt.tables |= tables
        doubt.sentences.append(sentence)
    return doubt


def _test_pairs(doubt: Doubt, board: Leaderboard, spec: Ranking) -> None:
    scores = board.scores
    pairwise = superiority_rows(scores, spec)
    doubt.tables["superiority.csv"] = csv_text(SUPERIORITY_COLUMNS, pairwise)
    found = significance(scores, spec)
    if found is None:
        return
    doubt.tables["significance.csv"] = significance_csv(scores, found, spec.alpha, pairwise)
    tier_of = tiers(best_first(board.places), found.adjusted <= spec.alpha).tolist()
    doubt.tiers = dict(zip(scores.teams, tier_of, strict=True))
    doubt.record["significance"] = {
        "test": found.test,
        "alpha": spec.alpha,
        "tiers": "a team opens a new tier when the tier's first team beats it (p_adjusted <= alpha)",
        **found.how,
    }


def _vary_cases(doubt: Doubt, board: Leaderboard, spec: Ranking) -> None:
    scores = board.scores
    winners = first_places(board.places)
    names = shortened(scores.teams)
    first = ", ".join(name for name, wins in zip(names, winners, strict=True) if wins)
    found, left_out = leave_one_out(scores, spec, board.places)
    doubt.tables["leave_one_out.csv"] = leave_one_out_csv(scores, found)
    doubt.record["leave_one_out"] = left_out
    for kind, facts in left_out.items():
        if units := facts["changes_winner"]:
            shown = f"{', '.join(shortened(units[:5]))}{', ...' if len(units) > 5 else ''}"
            doubt.sentences.append(f"{first} would not be first without the {kind} {shown}")
    if not spec.bootstrap:
        return
    drawn, kendall = bootstrap_places(scores, spec, board.places)
    doubt.tables["stability.csv"] = stability_csv(scores, board.places, drawn, left_out)
    doubt.intervals = rank_intervals(scores, drawn)
    doubt.tables["rank_frequencies.csv"] = frequencies_csv(scores, drawn)
    doubt.record["bootstrap"] = {
        "draws": spec.bootstrap,
        "within": spec.bootstrap_within,
        "first_share": "a tied first place counts for every team in it",
        **kendall_summary(kendall),
    }
    shares = first_places(drawn).mean(axis=1)
    often = [f"{names[i]} {shares[i]:.0%}" for i in np.argsort(-shares, kind="stable") if shares[i]]
    more = f" and {len(often) - MOST_NAMED} more teams" if len(often) > MOST_NAMED else ""
    doubt.sentences.append(
        f"first, alone or tied, in {spec.bootstrap} bootstrap draws of the cases: "
        f"{', '.join(often[:MOST_NAMED])}{more}"
    )
