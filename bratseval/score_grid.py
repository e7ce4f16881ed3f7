"""Score rows to the complete table that a ranking works on: every team x case x ranked column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.ranking.schemes import Grid
from bratseval.tables import ScoreRow

EMPTY = ("empty_both", "not_applicable")  # statuses of a score that rightly has no value

Column = tuple[str, str]  # region, metric


@dataclass(frozen=True, slots=True)
class ScoreGrid:
    """Names beside the numbers: teams, cases as (institution, case), columns as (region, metric)."""

    teams: tuple[str, ...]
    cases: tuple[tuple[str, str], ...]
    columns: tuple[Column, ...]
    grid: Grid
    breakers: tuple[tuple[Grid, str], ...]  # of each tie breaker: its grid and statistic

    @property
    def institutions(self) -> tuple[str, ...]:
        """Names of the institutions, in the order of the grid's numbers."""
        return tuple(sorted({institution for institution, _ in self.cases}))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The ranked metrics, in order."""
        return tuple(dict.fromkeys(metric for _, metric in self.columns))

    @property
    def by_metric(self) -> list[int]:
        """The columns metric by metric, as tables show them."""
        return sorted(range(len(self.columns)), key=lambda k: self.metrics.index(self.columns[k][1]))

    def of_cases(self, chosen: np.ndarray) -> ScoreGrid:
        """The same of some cases, given as indices."""
        return replace(
            self,
            cases=tuple(self.cases[index] for index in chosen),
            grid=self.grid.of_cases(chosen),
            breakers=tuple((grid.of_cases(chosen), statistic) for grid, statistic in self.breakers),
        )


def build_grid(rows: Sequence[ScoreRow], challenge: Challenge) -> tuple[ScoreGrid, list[Problem]]:
    """The complete table: an absent row is a missing value, filled in as the challenge says.

    Raises UsageError when there is nothing to rank.
    """
    spec = challenge.ranking
    regions = spec.regions or challenge.scored_regions
    known = list(challenge.metrics)
    metrics = sorted(spec.metrics, key=lambda name: known.index(name) if name in known else len(known))
    ranked = [row for row in rows if row.metric in metrics and row.region in (*regions, "")]
    present = {(row.region, row.metric) for row in ranked}
    names = dict.fromkeys((*regions, ""))  # a score of the whole case or team has a region without a name
    columns = [(r, m) for r in names for m in metrics if (r, m) in present]
    listed = [row for row in ranked if row.team not in spec.baselines]
    if not listed:
        wanted = f"metrics ({', '.join(metrics) or 'none'}) and regions ({', '.join(regions)})"
        message = f"no row of the ranked {wanted}"
        raise UsageError(
            Problem("error", "CSV006", message, "check that the scores belong to this challenge")
        )
    if all(row.value is None for row in listed):
        message = "no ranked metric has a value for any team"
        raise UsageError(Problem("error", "CFG006", message, "the other problems say why"))
    teams = sorted({row.team for row in rows if row.team not in spec.baselines})
    cases = sorted({(row.institution, row.case) for row in listed if row.case}) or sorted(
        {(row.institution, "") for row in listed}
    )
    problems = [
        Problem("warning", "CSV009", f"no row of the ranked {kind} {name}", "it takes no part in the ranking")
        for kind, names, at in (
            ("metric", metrics, 1),
            ("region", spec.regions if challenge.regions_by_file else regions, 0),
        )
        for name in names
        if name not in {column[at] for column in columns}
        and not (at == 0 and {column[0] for column in columns} == {""})
    ]
    grid = _grid(listed, teams, cases, columns, challenge)
    if np.isinf(grid.values).any():
        counts = zip(teams, np.isinf(grid.values).sum(axis=(1, 2)).tolist(), strict=True)
        shown = ", ".join(f"{team}: {n}" for team, n in counts if n)
        message = f"infinite scores ({shown}) rank behind every number, or before where larger is better"
        problems.append(Problem("warning", "CSV014", message, "give them the penalty of the challenge"))
    breakers = []
    for breaker in spec.breakers:
        own = [r for r in rows if r.metric == breaker.metric and r.region in (*regions, "")]
        separate = list(dict.fromkeys((r.region, r.metric) for r in own))
        if separate:
            breakers.append((_grid(own, teams, cases, separate, challenge), breaker.statistic))
        else:
            message = f"no row of the tie breaker {breaker.metric}"
            problems.append(Problem("warning", "CSV009", message, "ties that it would break stay"))
    if spec.plan.per_institution and {institution for institution, _ in cases} == {""}:
        message = "no institution is stated, so all cases count as one institution's"
        hint = "fill the institution column, or give --metadata with case and institution"
        problems.append(Problem("warning", "RUN008", message, hint))
    filled, counted = _fill_missing(grid, columns, teams, challenge)
    found = ScoreGrid(tuple(teams), tuple(cases), tuple(columns), filled, tuple(breakers))
    return found, problems + counted


def _grid(
    rows: Iterable[ScoreRow],
    teams: Sequence[str],
    cases: Sequence[tuple[str, str]],
    columns: Sequence[Column],
    challenge: Challenge,
) -> Grid:
    team_of = {name: index for index, name in enumerate(teams)}
    case_of = {name: index for index, name in enumerate(cases)}
    column_of = {name: index for index, name in enumerate(columns)}
    values = np.full((len(teams), len(columns), len(cases)), np.nan)
    empty = np.zeros(values.shape, bool)
    stated = np.zeros(values.shape[1:], bool)
    by_case, whole = np.zeros(len(columns), bool), np.zeros(len(columns), bool)
    for row in rows:
        team = team_of.get(row.team)
        if team is None:
            continue
        column = column_of[row.region, row.metric]
        at: object = case_of.get((row.institution, row.case))
        if row.case:
            by_case[column] = True
        else:  # a metric of the whole cohort stands in every case (of its institution)
            whole[column] = True
            at = [i for i, (institution, _) in enumerate(cases) if row.institution in ("", institution)]
        if at is None:
            continue  # a case that only tie breakers or baselines have
        stated[column, at] = True  # type: ignore[index]
        if row.value is not None:
            values[team, column, at] = row.value  # type: ignore[index]
        elif row.status in EMPTY:
            empty[team, column, at] = True  # type: ignore[index]
    empty |= ~stated  # a region that a case does not have is nobody's gap
    if (mixed := by_case & whole).any():
        names = ", ".join(f"{m} {r}".strip() for (r, m), bad in zip(columns, mixed, strict=True) if bad)
        message = f"{names} has rows with a case and rows without one"
        raise UsageError(Problem("error", "CSV010", message, "keep one kind"))
    facts = [challenge.facts(metric) for _, metric in columns]
    spec = challenge.ranking
    absolute = np.array([metric in spec.absolute for _, metric in columns])
    cohort_weight = spec.plan.cohort_weight
    weights = [
        spec.weights.get(metric, cohort_weight if cohort else 1.0)
        for (_, metric), cohort in zip(columns, whole, strict=True)
    ]
    institutions = sorted({institution for institution, _ in cases})
    smaller = np.array([fact.smaller for fact in facts]) | absolute
    values = np.where(absolute[:, None], np.abs(values), values)
    best = np.where(absolute, 0.0, _bounds([fact.best for fact in facts]))
    worst = np.where(absolute, np.nan, _bounds([fact.worst for fact in facts]))
    for column in np.flatnonzero(np.isnan(worst)).tolist():
        seen = values[:, column][~np.isnan(values[:, column])]
        if seen.size:
            worst[column] = seen.max() if smaller[column] else seen.min()
    places = np.array([institutions.index(institution) for institution, _ in cases])
    return Grid(values, empty, smaller, whole, np.array(weights), best, worst, places)


def _bounds(values: Iterable[float | None]) -> np.ndarray:
    """Best or worst values as an array, nan where there is no finite one."""
    return np.array([np.nan if value is None or np.isinf(value) else value for value in values])


def _fill_missing(
    grid: Grid, columns: Sequence[Column], teams: Sequence[str], challenge: Challenge
) -> tuple[Grid, list[Problem]]:
    """Put in the number that the challenge states for a missing value, and count what is missing."""
    rule = challenge.ranking.missing
    gaps = grid.missing
    if isinstance(rule, dict):
        numbers = np.array([rule.get(metric, np.nan) for _, metric in columns])
        grid = replace(grid, values=np.where(gaps, numbers[:, None], grid.values))
    if rule not in ("drop", "rank_zero") or not gaps.any():
        return grid, []
    counted = ", ".join(
        f"{team}: {n} cases"
        for team, n in zip(teams, gaps.any(axis=1).sum(axis=1).tolist(), strict=True)
        if n
    )
    what = {
        "drop": "are left out of the ranking",
        "rank_zero": "count as rank 0, before the best, as in the official FeTS task 1 code",
    }[rule]
    message = f"{int(gaps.sum())} missing scores {what} ({counted})"
    hint = "a team gains by failing on hard cases; prefer a number or `worst`"
    return grid, [Problem("warning", "RUN004", message, hint)]
