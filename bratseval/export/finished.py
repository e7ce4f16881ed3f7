"""What an export needs of a finished result folder, team by team."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bratseval.challenge import Rulebook
from bratseval.config import recorded_rulebook
from bratseval.errors import Problem, UsageError, printable
from bratseval.export.names import case_names
from bratseval.results import read_run
from bratseval.score_files import read_scores
from bratseval.score_table import ScoreTable
from bratseval.tables import PROBLEM_COLUMNS, read_own_rows

STATISTICS = ("mean", "std", "median", "q25", "q75")
Column = tuple[str, str]  # region, metric


@dataclass(frozen=True, slots=True)
class Statistics:
    """A row of teams.csv: number of values and of penalties, and those statistics that there are."""

    region: str
    metric: str
    cases: int
    penalized: int
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TeamResults:
    """Everything of one team. complete: whether the folder is; standing: its rank and score, if ranked.

    files: (case, role) -> name of the one file in that role.
    """

    team: str
    rulebook: Rulebook
    complete: bool
    signature: str
    scores: ScoreTable
    statistics: Sequence[Statistics]
    standing: Mapping[str, float] | None
    problems: Sequence[Problem]
    files: Mapping[tuple[str, str], str]


@dataclass(frozen=True, slots=True)
class Finished:
    """A result folder: all scores, and the same by team."""

    rulebook: Rulebook
    complete: bool
    scores: ScoreTable
    teams: Sequence[TeamResults]


def read_finished(folder: Path, team: str = "") -> Finished:
    """The results of all teams in a folder of `run`, `evaluate`, `merge` or `rank`, or of the one named.

    Raises UsageError where it is no such folder or has no such team.
    """
    run = read_run(folder)
    rulebook = recorded_rulebook(run)
    scores = read_scores(folder / "scores.csv")
    # A team whose shards are all missing has no row, and is not forgotten.
    teams = sorted({*scores.team.used, *map(printable, run["expected"])})
    if team:
        teams = [_known(printable(team), teams, folder)]
        scores = scores.take(scores.team.where(teams[0].__eq__))
    statistics: dict[str, list[Statistics]] = {}
    for row in read_own_rows(folder / "teams.csv")[1]:
        statistics.setdefault(row["team"], []).append(_statistics(row))
    ranked = folder / "leaderboard.csv"
    standings = {row["team"]: row for row in read_own_rows(ranked)[1]} if ranked.is_file() else {}
    problems = [
        Problem(**{column: row[column] for column in PROBLEM_COLUMNS})  # type: ignore[arg-type]
        for row in read_own_rows(folder / "problems.csv")[1]
    ]
    files: dict[str, dict[tuple[str, str], list[str]]] = {}  # those of references are of no team
    for row in read_own_rows(folder / "inputs.csv")[1]:
        files.setdefault(row["team"], {}).setdefault((row["case"], row["role"]), []).append(row["file"])
    return Finished(
        rulebook,
        run["complete"],
        scores,
        [
            TeamResults(
                one,
                rulebook,
                run["complete"],
                run["signature"],
                scores.take(scores.team.where(one.__eq__)),
                statistics.get(one, ()),
                _standing(standings[one]) if one in standings else None,
                [problem for problem in problems if problem.team == one],
                {
                    place: named[0]
                    for whose in ("", one)
                    for place, named in files.get(whose, {}).items()
                    if len(named) == 1
                },
            )
            for one in teams
        ],
    )


def _known(team: str, teams: Sequence[str], folder: Path) -> str:
    if team in teams:
        return team
    close = difflib.get_close_matches(team, teams, n=1)
    shown = f"{', '.join(teams[:10])}{', ...' if len(teams) > 10 else ''}"
    hint = f"did you mean {close[0]!r}?" if close else f"its teams: {shown}"
    raise UsageError(Problem("error", "RUN019", f"{folder} has no team {team[:100]!r}", hint))


def _statistics(row: Mapping[str, str]) -> Statistics:
    numbers = {name: float(row[name]) for name in STATISTICS if row[name]}
    return Statistics(
        row["region"],
        row["metric"],
        int(float(row["cases"] or 0)),
        int(float(row["penalized"] or 0)),
        numbers,
    )


def _standing(row: Mapping[str, str]) -> dict[str, float]:
    numbers = {name: float(row[name]) for name in ("rank", "score") if row[name]}
    return {name: int(one) if name == "rank" and one == int(one) else one for name, one in numbers.items()}


def case_values(
    scores: ScoreTable, taken: Collection[str] = (), *, of_team: bool = False
) -> dict[str, dict[Column, float]]:
    """Name of every case (as `case_names`) -> the values that it has, finite ones only, by region and metric.

    of_team : the numbers that the team has once are there, too, under a name of their own.
    """
    rows = scores if of_team else scores.take(scores.case.where(bool))
    names = case_names(zip(rows.institution.texts(), rows.case.texts(), strict=True), taken)
    values: dict[str, dict[Column, float]] = {name: {} for name in names.values()}
    for row in rows:
        if row.value is not None and math.isfinite(row.value):
            values[names[row.institution, row.case]][row.region, row.metric] = row.value
    return values


def as_json(document: Mapping[str, Any]) -> str:
    """A JSON document with sorted keys; numbers are finite."""
    return json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
