"""challengeR: long CSV files, one for each direction, since `as.challenge` has one `smallBetter`."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bratseval.challenge import Challenge
from bratseval.errors import Problem
from bratseval.export.finished import Finished
from bratseval.export.names import case_names
from bratseval.model import Cell
from bratseval.score_table import ScoreTable
from bratseval.tables import csv_text, finite

FILES = {False: "larger_is_better.csv", True: "smaller_is_better.csv"}  # by smallBetter
# After the four columns of challengeR those by which `bratseval rank` reads the same ranking back.
COLUMNS = (
    *("task", "algorithm", "case", "value"),
    *("institution", "region", "metric", "status", "reason"),
)


def documents(finished: Finished) -> dict[str, str]:
    """File name -> text: the ranked metrics and regions of all teams; a task is `<region>_<metric>`."""
    rows = _ranked(finished)
    challenge = finished.rulebook.challenge
    found = {}
    for small, name in FILES.items():
        wanted = [metric for metric in rows.metric.used if _small(challenge, metric) == small]
        if wanted:
            found[name] = csv_text(
                COLUMNS, _lines(rows.take(rows.metric.where(wanted.__contains__)), challenge)
            )
    return found


def _small(challenge: Challenge, metric: str) -> bool:
    return metric in challenge.ranking.absolute or challenge.facts(metric).smaller


def _ranked(finished: Finished) -> ScoreTable:
    """The rows that decide the places; those of all metrics with a direction where none is ranked."""
    challenge = finished.rulebook.challenge
    spec = challenge.ranking
    metrics = [*spec.metrics, *(breaker.metric for breaker in spec.breakers)]
    metrics = metrics or [
        name for name in finished.rulebook.metrics if challenge.facts(name).best is not None
    ]
    regions = {*(spec.regions or finished.rulebook.regions), ""}
    scores = finished.scores
    chosen = scores.metric.where(metrics.__contains__) & scores.region.where(regions.__contains__)
    return scores.take(chosen)


def _lines(rows: ScoreTable, challenge: Challenge) -> Iterator[tuple[Cell, ...]]:
    of_cases = rows.take(rows.case.where(bool))
    names = case_names(zip(of_cases.institution.texts(), of_cases.case.texts(), strict=True))
    for row in rows:
        case = names[row.institution, row.case] if row.case else ""
        value = None if row.value is None else finite(row.value)
        if value is not None and row.metric in challenge.ranking.absolute:
            value = abs(value)  # ranked so; challengeR knows two directions only
        task = f"{row.region}_{row.metric}" if row.region else row.metric
        further = (row.institution, row.region, row.metric, row.status, row.reason)
        yield task, row.team, case, value, *further


def remarks(finished: Finished, names: Collection[str]) -> list[Problem]:
    """How to load each file in R; a warning of numbers that a team has once, as challengeR compares cases."""
    kinds = ", ".join(f'{name} = "character"' for name in COLUMNS[:3])
    small = {name: "TRUE" if flag else "FALSE" for flag, name in FILES.items()}
    said = [
        Problem(
            "note",
            "OUT006",
            f'in R: as.challenge(read.csv("{name}", colClasses = c({kinds}), na.strings = character(0)), '
            'by = "task", algorithm = "algorithm", case = "case", value = "value", '
            f'smallBetter = {small[name]}, na.treat = "na.rm")',
        )
        for name in names
    ]
    rows = _ranked(finished)
    if whole := rows.take(~rows.case.where(bool)).metric.used:
        message = f"{', '.join(whole)}: one number a team, where challengeR compares values of cases"
        hint = "leave these tasks out in R; `bratseval rank` reads them"
        said.append(Problem("warning", "OUT006", message, hint))
    return said
