"""What a report shows, as numbers: from the tables of a result folder, before any of it is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bratseval.challenge import Challenge, Rulebook
from bratseval.errors import Problem, UsageError
from bratseval.metrics.registry import find_metric
from bratseval.results import Results, as_read
from bratseval.score_table import ScoreTable, pairs, places_of
from bratseval.tables import PENALIZED, column_name, read_own_rows

# The tables whose size does not grow with the cases.
SMALL_TABLES = (
    *("leaderboard.csv", "teams.csv", "significance.csv", "stability.csv", "rank_frequencies.csv"),
    *("schemes.csv", "agreement.csv", "strata.csv"),
)
# By table, the block of `ranking` in run.json that says how it came about.
_TELLS = {
    **dict.fromkeys(("stability.csv", "rank_frequencies.csv"), "bootstrap"),
    "significance.csv": "significance",
}
HARDEST = 20  # cases listed as the hardest
WORST = 10  # cases of every team listed as its worst
ABSENT = 255  # status where there is no row


@dataclass(frozen=True, slots=True)
class Table:
    """The text of a small CSV file."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One metric in one region, of every team and case.

    values : (teams, cases) float64, nan where the cell is empty; status : (teams, cases) uint8, a place in
    `Contents.statuses`, or ABSENT. A metric of all cases together has one number for each of
    `Contents.sites` instead. smaller is None where nothing says which direction is better. absolute: the
    ranking takes the value without its sign.
    """

    region: str
    metric: str
    unit: str
    smaller: bool | None
    absolute: bool
    ranked: bool
    of_cases: bool
    values: np.ndarray
    status: np.ndarray

    @property
    def name(self) -> str:
        """The name that the column has in every table."""
        return column_name(self.region, self.metric)

    @property
    def compares(self) -> bool:
        """Whether it is ranked and says of two cases, or of two teams in a case, which is better."""
        return self.ranked and self.of_cases and self.smaller is not None

    @property
    def better(self) -> str:
        """Which values are better, in a word or two; nothing where nothing says so."""
        if self.absolute:
            return "closer to 0"
        return {True: "smaller", False: "larger", None: ""}[self.smaller]

    @property
    def costs(self) -> np.ndarray:
        """The values as the ranking compares them, turned so that smaller is better."""
        values = np.abs(self.values) if self.absolute else self.values
        return values if self.smaller else -values


@dataclass(frozen=True, slots=True)
class Difficult:
    """A case that scored badly: its mean place among the cases (1 = worst) and one number a ranked column."""

    team: str  # empty: over all teams
    institution: str
    case: str
    place: float
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Contents:
    """Everything that a report shows. Teams are in the order of the leaderboard, else by name."""

    record: Mapping[str, Any]
    title: str
    differences: Sequence[str]
    teams: Sequence[str]
    cases: Sequence[tuple[str, str]]  # institution, case
    sites: Sequence[str]  # institutions, which a number over all cases of a team may come from
    statuses: Sequence[str]
    columns: Sequence[Column]
    tables: Mapping[str, Table]
    results: Results
    hardest: Sequence[Difficult]
    worst: Sequence[Difficult]


def gather(folder: Path, results: Results, record: Mapping[str, Any], rulebook: Rulebook) -> Contents:
    """What a finished result folder says; results are its scores, details and problems.

    Raises UsageError where one of its tables cannot be read.
    """
    tables = {
        name: Table(*read_own_rows(folder / name)) for name in SMALL_TABLES if (folder / name).is_file()
    }
    for name, block in _TELLS.items():
        if name in tables and block not in record["ranking"]:
            message = f"{folder / 'run.json'} says nothing of ranking.{block}, of which {name} beside it is"
            raise UsageError(Problem("error", "CSV006", message, "rank again, or delete the table"))
    results = as_read(results)  # a report must not depend on whether they were read or just computed
    scores = results.scores
    _check_teams(folder, tables, scores.team.used)
    board = tables.get("leaderboard.csv")
    teams = [row["team"] for row in board.rows] if board else scores.team.used
    cases = [(site, case) for site, case in pairs(scores, "institution", "case") if case]
    columns = _columns(scores, teams, cases, rulebook.challenge)
    ranked = [column for column in columns if column.compares]
    return Contents(
        record,
        rulebook.challenge.title or rulebook.challenge.name,
        rulebook.challenge.differences,
        teams,
        cases,
        scores.institution.used,
        scores.status.names,
        columns,
        tables,
        results,
        _hardest(ranked, cases) if len(teams) > 1 else [],
        _worst(ranked, teams, cases, scores.status.names),
    )


def _check_teams(folder: Path, tables: Mapping[str, Table], scored: Sequence[str]) -> None:
    """Refuse tables of other teams than those that have scores, and shares that are none."""
    known = {*scored}
    for name in ("leaderboard.csv", "stability.csv", "rank_frequencies.csv"):
        rows = tables[name].rows if name in tables else ()
        why = next(
            (f"names {one['team'][:100]!r}, which has no scores" for one in rows if one["team"] not in known),
            "",
        )
        if name == "leaderboard.csv" and name in tables:
            known = {row["team"] for row in rows}
            why = why or ("" if rows or not scored else "names no team")
        if not why and name == "rank_frequencies.csv" and any(float(row["share"] or 0) < 0 for row in rows):
            why = "has a share below 0"
        if why:
            message = f"{folder / name} {why}"
            raise UsageError(Problem("error", "CSV006", message, "rank again", file=str(folder / name)))


def lost_codes(statuses: Sequence[str]) -> list[int]:
    """The places of those statuses that are the price of a file or run that went wrong."""
    return [code for code, status in enumerate(statuses) if status in PENALIZED]


def usable(contents: Contents) -> np.ndarray:
    """Whether a team has a usable file of a case: (teams, cases) bool."""
    lost = lost_codes(contents.statuses)
    there = np.zeros((len(contents.teams), len(contents.cases)), bool)
    for column in contents.columns:
        if column.of_cases:
            there |= ~np.isin(column.status, [*lost, ABSENT])
    return there


def _columns(
    scores: ScoreTable, teams: Sequence[str], cases: Sequence[tuple[str, str]], challenge: Challenge
) -> list[Column]:
    """Every metric and region with a number, the ranked ones first, in the order of the challenge."""
    ranking = challenge.ranking
    regions, metrics = challenge.scored_regions, list(challenge.metrics)

    def ranked(region: str, metric: str) -> bool:
        return metric in ranking.metrics and region in (*(ranking.regions or regions), "")

    def order(name: tuple[str, ...]) -> tuple[object, ...]:
        places = [
            names.index(one) if one in names else len(names)
            for names, one in ((metrics, name[1]), (regions, name[0]))
        ]
        return (not ranked(*name), *places, name)

    names = sorted(pairs(scores, "region", "metric"), key=order)
    of_name = places_of(scores, ("region", "metric"), names)
    by_name = np.argsort(of_name, kind="stable")
    ends = np.searchsorted(of_name[by_name], np.arange(len(names) + 1))
    team = places_of(scores, ("team",), [(name,) for name in teams])
    case = places_of(scores, ("institution", "case"), cases)
    site = places_of(scores, ("institution",), [(name,) for name in scores.institution.used])
    columns = []
    for index, name in enumerate(names):
        rows = by_name[ends[index] : ends[index + 1]]
        of_cases = bool((case[rows] >= 0).any())
        place = (case if of_cases else site)[rows]
        rows, place = rows[(place >= 0) & (team[rows] >= 0)], place[(place >= 0) & (team[rows] >= 0)]
        values = np.full((len(teams), len(cases) if of_cases else len(scores.institution.used)), np.nan)
        status = np.full(values.shape, ABSENT, np.uint8)
        values[team[rows], place] = scores.value[rows]
        status[team[rows], place] = scores.status.codes[rows]
        if not np.isnan(values).all():
            smaller, unit = _facts(challenge, name[1])
            region, metric = name
            listed = ranked(region, metric)
            absolute = metric in ranking.absolute
            columns.append(Column(region, metric, unit, smaller, absolute, listed, of_cases, values, status))
    return columns


def _facts(challenge: Challenge, metric: str) -> tuple[bool | None, str]:
    """Whether smaller values are better, None for a plain fact or an unknown metric; and the unit."""
    spec = challenge.metrics.get(metric)
    try:
        entry = find_metric(spec.metric if spec else metric)[1]
    except KeyError:
        entry = None
    ranking = challenge.ranking
    unranked = entry is None or entry.best is None
    if metric in ranking.absolute:
        smaller: bool | None = True
    else:
        known = not unranked or metric in ranking.directions
        smaller = challenge.facts(metric).smaller if known else None
    return smaller, entry.unit if entry else ""


def _badness(costs: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over columns of the place of each case among the cases, 1 = worst; nan where it has no number.

    costs : one vector (cases,) a column, larger is worse.
    """
    places = np.full((len(costs), len(costs[0])), np.nan)
    for at, of_cases in enumerate(costs):
        known = ~np.isnan(of_cases)
        _, which, counts = np.unique(-of_cases[known], return_inverse=True, return_counts=True)
        places[at, known] = (counts.cumsum() - (counts - 1) / 2)[which]  # ties share the mean of their places
    counts = (~np.isnan(places)).sum(axis=0)
    return np.where(counts > 0, np.nansum(places, axis=0) / np.maximum(counts, 1), np.nan)


def _difficult(
    costs: Sequence[np.ndarray], values: Sequence[np.ndarray], most: int
) -> list[tuple[int, float, list[float]]]:
    """The worst cases: place in the list of cases, mean place, and a number a column."""
    places = _badness(costs)
    worst = np.argsort(places, kind="stable")[: min(most, int((~np.isnan(places)).sum()))]
    return [(int(at), float(places[at]), [float(one[at]) for one in values]) for at in worst]


def _hardest(ranked: Sequence[Column], cases: Sequence[tuple[str, str]]) -> list[Difficult]:
    """The cases at which the median over the teams is worst."""
    if not ranked:
        return []
    with warnings.catch_warnings():  # a case without any number has no median
        warnings.simplefilter("ignore", RuntimeWarning)
        costs = [np.nanmedian(column.costs, axis=0) for column in ranked]
        values = [np.nanmedian(column.values, axis=0) for column in ranked]
    return [
        Difficult("", *cases[at], place, numbers) for at, place, numbers in _difficult(costs, values, HARDEST)
    ]


def _worst(
    ranked: Sequence[Column], teams: Sequence[str], cases: Sequence[tuple[str, str]], statuses: Sequence[str]
) -> list[Difficult]:
    """The worst cases of every team among those that it has a prediction of, team by team."""
    if not ranked:
        return []
    lost = lost_codes(statuses)
    kept = [
        [np.where(np.isin(one.status, lost), np.nan, numbers) for numbers in (one.costs, one.values)]
        for one in ranked
    ]
    found = []
    for i, team in enumerate(teams):
        costs, values = ([one[side][i] for one in kept] for side in (0, 1))
        for at, place, numbers in _difficult(costs, values, WORST):
            found.append(Difficult(team, *cases[at], place, numbers))
    return found
