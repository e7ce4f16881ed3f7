"""The leaderboard within strata of the cases: per institution, scanner, sex, age band, ..."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from bratseval.errors import Problem
from bratseval.leaderboard import best_first, case_means, lost_cases, standings
from bratseval.model import Cell
from bratseval.ranking.rules import Ranking
from bratseval.ranking.steps import quantile
from bratseval.score_grid import ScoreGrid
from bratseval.score_table import ScoreTable, places_of
from bratseval.tables import ScoreRow, column_name, csv_text, finite

MAX_VALUES = 20  # a text column with more values names cases rather than groups them
BANDS_FROM = 6  # a numeric column with more values than this is cut into three bands of equal size


def strata_csv(
    scores: ScoreGrid, rows: Iterable[ScoreRow], spec: Ranking, columns: Mapping[str, Sequence[str]]
) -> tuple[str, list[Problem]]:
    """strata.csv: the ranking repeated on the cases of every value of every column.

    columns : name -> value of every case of ``scores``; a case with an empty one belongs to no stratum.
    The last columns of the table are the gaps per team between its best and its worst stratum.
    """
    lost = lost_cases(ScoreTable.of(rows))
    lost_by = np.zeros((len(scores.teams), len(scores.cases)), bool)
    at = places_of(lost, ("team",), [(team,) for team in scores.teams])
    case_at = places_of(lost, ("institution", "case"), scores.cases)
    listed = (at >= 0) & (case_at >= 0)
    lost_by[at[listed], case_at[listed]] = True
    problems: list[Problem] = []
    shown = scores.by_metric
    names = [column_name(*scores.columns[k]) for k in shown]
    table: list[list[Cell]] = []
    for column, values in columns.items():
        bands, reason = _bands(values)
        if reason:
            message = f"the metadata column {column!r} makes no strata: {reason}"
            problems.append(Problem("note", "CSV011", message))
            continue
        parts = []
        for value in dict.fromkeys(sorted(set(bands) - {""}, key=_band_order)):
            chosen = np.flatnonzero([band == value for band in bands])
            parts.append((value, chosen, *_stratum(scores.of_cases(chosen), spec)))
        numbers = np.array([part[3] for part in parts])
        means = np.array([part[4] for part in parts])
        score_gap, gaps = (_gap(stack) for stack in (numbers, means))
        for value, chosen, reached, score_of, mean_of in parts:
            missing = lost_by[:, chosen].sum(axis=1).tolist()
            table += [
                [
                    *(column, value, float(reached[i]), scores.teams[i], finite(score_of[i]), len(chosen)),
                    missing[i],
                    *(finite(mean) for mean in mean_of[i, shown]),
                    finite(score_gap[i]),
                    *(finite(gap) for gap in gaps[i, shown]),
                ]
                for i in best_first(reached)
            ]
    header = ("column", "value", "rank", "team", "score", "cases", "missing_cases", *names, "score_gap")
    return csv_text((*header, *(f"{name}_gap" for name in names)), table), problems


def _stratum(scores: ScoreGrid, spec: Ranking) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and scores (teams,), and means (teams, columns) of the cases of one stratum."""
    numbers, reached = standings(scores, spec)
    return reached[:, 0], numbers[:, 0], case_means(scores, spec)


def _gap(strata: np.ndarray) -> np.ndarray:
    """Largest minus smallest over strata (first axis); nan and infinity are left out."""
    low = np.where(np.isfinite(strata), strata, np.inf).min(axis=0)
    high = np.where(np.isfinite(strata), strata, -np.inf).max(axis=0)
    return np.where(np.isfinite(high - low), high - low, np.nan)


def _bands(values: Sequence[str]) -> tuple[Sequence[str], str]:
    """Stratum of every case, or why there is none."""
    found = sorted({value for value in values if value})
    if len(found) < 2:
        return values, "fewer than two values"
    try:
        numbers = np.array([float(value) if value else np.nan for value in values])
    except ValueError:
        if len(found) > MAX_VALUES:
            return values, f"{len(found)} different texts"
        return values, ""
    if len(found) <= BANDS_FROM or not np.isfinite(numbers[~np.isnan(numbers)]).all():
        return values, ""
    low, high = (float(quantile(numbers, None, share)[0]) for share in (1 / 3, 2 / 3))
    names = (f"<= {low:g}", f"{low:g} to {high:g}", f"> {high:g}")
    return [
        "" if np.isnan(number) else names[int(number > low) + int(number > high)] for number in numbers
    ], ""


def _band_order(value: str) -> tuple[int, float, str]:
    """Bands from low to high, numbers by size, texts by name."""
    if value.startswith("<= "):
        return 0, 0.0, value
    if value.startswith("> "):
        return 2, 0.0, value
    try:
        return 1, float(value.split(" to ")[0]), value
    except ValueError:
        return 1, 0.0, value
