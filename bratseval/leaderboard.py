"""The complete table to a leaderboard: places, scores, and the ranks behind them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem
from bratseval.model import Cell
from bratseval.ranking.rules import Ranking
from bratseval.ranking.schemes import case_ranks, scoring
from bratseval.ranking.steps import aggregate, combine, rank
from bratseval.score_grid import ScoreGrid, build_grid
from bratseval.score_table import ScoreTable, distinct, places_of
from bratseval.tables import (
    BLOCK,
    PENALIZED,
    ScoreRow,
    column_name,
    csv_columns,
    csv_text,
    finite,
    number_texts,
    texts_of,
)


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """The ranked teams, best first, baselines last, and the ranks behind the score.

    remarks: sentences on means that are over fewer cases than one would think.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    ranks: np.ndarray | None  # (teams, columns, cases), for schemes that rank within cases
    problems: tuple[Problem, ...]
    scores: ScoreGrid
    places: np.ndarray  # (teams,) in the order of scores.teams
    remarks: tuple[str, ...] = ()

    @property
    def leaderboard_csv(self) -> str:
        """leaderboard.csv."""
        return csv_text(self.columns, self.rows)

    @property
    def ranks_csv(self) -> Iterator[str]:
        """ranks.csv in pieces: the rank of every team in every case, region and metric."""
        header = ("team", "institution", "case", "region", "metric", "value", "rank")
        return iter(()) if self.ranks is None else csv_columns(header, self._rank_columns(self.ranks))

    def _rank_columns(self, ranks: np.ndarray) -> Iterator[list[list[str]]]:
        scores = self.scores
        known = np.logical_not(scores.grid.empty.all(axis=0)).T  # (cases, columns)
        at_once = max(1, BLOCK // len(scores.columns))
        names = [texts_of(names) for names in zip(*scores.columns, strict=True)]
        for i, team in enumerate(texts_of(scores.teams)):
            for start in range(0, len(scores.cases), at_once):
                part = slice(start, start + at_once)
                case, column = (index.tolist() for index in np.nonzero(known[part]))
                places = [texts_of(place) for place in zip(*scores.cases[part], strict=True)]
                yield [
                    [team] * len(case),
                    *([texts[index] for index in case] for texts in places),
                    *([texts[index] for index in column] for texts in names),
                    *(
                        number_texts(table[i, :, part].T[known[part]])
                        for table in (scores.grid.values, ranks)
                    ),
                ]

    def with_column(self, name: str, cells: Mapping[str, Cell]) -> Leaderboard:
        """The same with one more column, by team."""
        rows = tuple((*row, cells.get(str(row[1]))) for row in self.rows)
        return replace(self, columns=(*self.columns, name), rows=rows)


def rank_teams(rows: Iterable[ScoreRow], challenge: Challenge) -> Leaderboard:
    """Rank the teams by the challenge's scheme.

    The grid team x case x region x metric is completed first: an absent row is a missing value.
    Raises UsageError when there is nothing to rank.
    """
    spec = challenge.ranking
    rows = ScoreTable.of(rows)
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
        cases = case_count(rows)
    if not cases:
        cases, missing = subject_counts(rows)
    baselines = [team for team in rows.team.used if team in spec.baselines]
    table: list[tuple[Cell, ...]] = [
        (float(reached[i]), scores.teams[i], finite(numbers[i]), cases, missing.get(scores.teams[i], 0))
        for i in best_first(reached)
    ]
    table += [(None, team, None, cases, missing.get(team, 0)) for team in baselines]
    means |= {team: _means_of_rows(rows, team, columns) for team in baselines}
    return Leaderboard(
        ("rank", "team", "score", "cases", "missing_cases", *(column_name(*column) for column in columns)),
        tuple((*row, *means[str(row[1])]) for row in table),
        case_ranks(scores.grid, spec, spec.plan) if spec.plan.steps[0] == "rank" else None,
        tuple(problems),
        scores,
        reached,
        tuple(_partly_empty(scores, spec)),
    )


def standings(
    scores: ScoreGrid, spec: Ranking, counts: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Score and place of every team, ties broken: two (teams, draws); counts as in `score`."""
    return standing(scores, spec)(counts)


def standing(
    scores: ScoreGrid, spec: Ranking
) -> Callable[[np.ndarray | None], tuple[np.ndarray, np.ndarray]]:
    """The same for any counts; what does not depend on them is done once."""
    scored = scoring(scores.grid, spec)

    def of_counts(counts: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        numbers, small = scored(counts)
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

    return of_counts


def best_first(places: np.ndarray) -> list[int]:
    """Teams (sorted by name, as in a grid) from the first to the last place, by name within a place."""
    order: list[int] = np.argsort(places, kind="stable").tolist()
    return order


def lost_cases(rows: ScoreTable) -> ScoreTable:
    """One row for every team and case that something went wrong with."""
    lost = rows.take(rows.case.where(bool) & rows.status.where(PENALIZED.__contains__))
    return lost.take(distinct(lost, "team", "institution", "case")[0])


def missing_counts(rows: ScoreTable) -> dict[str, int]:
    """Number of cases per team that something went wrong with."""
    return dict(Counter(lost_cases(rows).team.texts()))


def case_count(rows: ScoreTable) -> int:
    """Number of cases that any row has."""
    return len(distinct(rows.take(rows.case.where(bool)), "institution", "case")[0])


def subject_counts(rows: ScoreTable) -> tuple[int, dict[str, int]]:
    """Number of subjects, and of those that each team lacks, where teams hand in tables instead of cases."""
    of_site: dict[str, int] = {}
    for row in rows.take(rows.metric.where("subjects".__eq__)):
        of_site[row.institution] = max(int(row.value or 0), of_site.get(row.institution, 0))
    missing: Counter[str] = Counter()
    for row in rows.take(rows.metric.where("missing_subjects".__eq__)):
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


def _partly_empty(scores: ScoreGrid, spec: Ranking) -> Iterator[str]:
    """A sentence on the columns in which some teams have a mean and others rightly have no value at all."""
    counts = np.logical_not(np.isnan(scores.grid.for_means(spec.missing))).sum(axis=2)  # (teams, columns)
    nothing: np.ndarray = np.asarray(scores.grid.empty.all(axis=2))
    alike: dict[tuple[int, ...], list[str]] = {}
    for k in scores.by_metric:
        if nothing[:, k].any() and counts[:, k].any() and not scores.grid.cohort[k]:
            region, metric = scores.columns[k]
            alike.setdefault(tuple(counts[:, k].tolist()), []).append(f"{metric} {region}".strip())
    for of_teams, names in alike.items():
        some = [f"{n} for {team}" for team, n in zip(scores.teams, of_teams, strict=True) if n]
        shown = ", ".join(some[:5]) + (f", {len(some) - 5} more teams" if len(some) > 5 else "")
        yield (
            f"{', '.join(names)}: a mean is over the cases with a value, of {len(scores.cases)} these are "
            f"{shown}; a team with - had nothing to measure in any case and ranks as with the best value"
        )


def _means_of_rows(rows: ScoreTable, team: str, columns: Sequence[tuple[str, str]]) -> list[float | None]:
    """Means of a team that is not ranked: of the values it has."""
    own = rows.take(rows.team.where(team.__eq__) & ~np.isnan(rows.value))
    at = places_of(own, ("region", "metric"), columns)
    members = [own.value[at == k] for k in range(len(columns))]
    return [finite(float(np.mean(values))) if values.size else None for values in members]
