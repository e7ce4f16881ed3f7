"""Score rows to the complete table that a ranking works on: every team x case x ranked column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.ranking.schemes import Grid
from bratseval.score_table import ScoreTable, distinct, pairs, places_of

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


def build_grid(rows: ScoreTable, challenge: Challenge) -> tuple[ScoreGrid, list[Problem]]:
    """The complete table: an absent row is a missing value, filled in as the challenge says.

    Raises UsageError when there is nothing to rank.
    """
    spec = challenge.ranking
    regions = spec.regions or challenge.scored_regions
    known = list(challenge.metrics)
    metrics = sorted(spec.metrics, key=lambda name: known.index(name) if name in known else len(known))
    names = dict.fromkeys((*regions, ""))  # a score of the whole case or team has a region without a name
    in_regions = rows.region.where(names.__contains__)
    ranked = rows.metric.where(metrics.__contains__) & in_regions
    listed = rows.take(ranked & rows.team.where(lambda name: name not in spec.baselines))
    if not len(listed):
        wanted = f"metrics ({', '.join(metrics) or 'none'}) and regions ({', '.join(regions)})"
        message = f"no row of the ranked {wanted}"
        raise UsageError(
            Problem("error", "CSV006", message, "check that the scores belong to this challenge")
        )
    if np.isnan(listed.value).all():
        message = "no ranked metric has a value for any team"
        raise UsageError(Problem("error", "CFG006", message, "the other problems say why"))
    present = set(pairs(rows.take(ranked), "region", "metric"))
    columns = [(r, m) for r in names for m in metrics if (r, m) in present]
    teams = [name for name in rows.team.used if name not in spec.baselines]
    of_cases = pairs(listed.take(listed.case.where(bool)), "institution", "case")
    cases = [(institution, case) for institution, case in of_cases] or [
        (institution, "") for institution in listed.institution.used
    ]
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
        own = rows.take(rows.metric.where(breaker.metric.__eq__) & in_regions)
        separate = _in_appearance(own)
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


def _in_appearance(rows: ScoreTable) -> list[Column]:
    """Region and metric of the rows, each once, the first first."""
    first, _ = distinct(rows, "region", "metric")
    found = rows.take(np.sort(first))
    return list(zip(found.region.texts(), found.metric.texts(), strict=True))


def _grid(
    rows: ScoreTable,
    teams: Sequence[str],
    cases: Sequence[tuple[str, str]],
    columns: Sequence[Column],
    challenge: Challenge,
) -> Grid:
    rows = rows.take(rows.team.where(frozenset(teams).__contains__))
    values = np.full((len(teams), len(columns), len(cases)), np.nan)
    empty = np.zeros(values.shape, bool)
    stated = np.zeros(values.shape[1:], bool)
    by_case, whole = np.zeros(len(columns), bool), np.zeros(len(columns), bool)
    of_case = rows.case.where(bool)
    for table, kind in ((rows.take(of_case), by_case), (rows.take(~of_case), whole)):
        team = places_of(table, ("team",), [(name,) for name in teams])
        column = places_of(table, ("region", "metric"), columns)
        kind[column] = True
        without = table.status.where(EMPTY.__contains__) & np.isnan(table.value)
        if kind is by_case:
            at = places_of(table, ("institution", "case"), cases)
            held = at >= 0  # not a case that only tie breakers or baselines have
            stated[column[held], at[held]] = True
            held &= ~np.isnan(table.value)
            values[team[held], column[held], at[held]] = table.value[held]
            without &= at >= 0
            empty[team[without], column[without], at[without]] = True
            continue
        # A metric of the whole cohort stands in every case (of its institution).
        sites = np.array([institution for institution, _ in cases], object)
        inside = {
            site: sites == site if site else np.ones(len(cases), bool) for site in table.institution.used
        }
        for row, site in enumerate(table.institution.texts()):
            place = (column[row], inside[site])
            stated[place] = True
            if not np.isnan(table.value[row]):
                values[team[row], *place] = table.value[row]
            elif without[row]:
                empty[team[row], *place] = True
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
    for k in np.flatnonzero(np.isnan(worst)).tolist():
        seen = values[:, k][~np.isnan(values[:, k])]
        if seen.size:
            worst[k] = seen.max() if smaller[k] else seen.min()
    number_of = {name: number for number, name in enumerate(institutions)}
    places = np.array([number_of[institution] for institution, _ in cases])
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
