"""scores.csv, cases.csv and teams.csv of a score table in the order of its key columns, in pieces of text."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from bratseval.model import Cell
from bratseval.score_table import Coded, ScoreTable, distinct, groups
from bratseval.tables import (
    BLOCK,
    INFINITE,
    PENALIZED,
    SCORE_COLUMNS,
    TEAM_COLUMNS,
    column_name,
    csv_columns,
    csv_rows,
    finite,
    number_texts,
    texts_of,
)


def scores_csv(table: ScoreTable) -> Iterator[str]:
    """scores.csv."""
    written = [texts_of(getattr(table, name).names) for name in SCORE_COLUMNS if name not in _NUMBERS]
    infinite = [(number, reason) for reason, number in INFINITE.items()]

    def blocks() -> Iterator[list[list[str]]]:
        for start in range(0, len(table), BLOCK):
            part = table.take(slice(start, start + BLOCK))
            names = iter(written)
            columns = [
                number_texts(getattr(part, name))
                if name in _NUMBERS
                else _texts(getattr(part, name), next(names))
                for name in SCORE_COLUMNS
            ]
            for number, reason in infinite:
                for row in np.flatnonzero(part.value == number).tolist():
                    columns[-1][row] = reason
            yield columns

    return csv_columns(SCORE_COLUMNS, blocks())


_NUMBERS = ("value", "measured")


def _texts(column: Coded, written: list[str]) -> list[str]:
    return [written[code] for code in column.codes.tolist()]


def cases_csv(table: ScoreTable) -> Iterator[str]:
    """cases.csv: one row per team and case, a column per metric and region."""
    first, column_of = distinct(table, "region", "metric")
    named = [column_name(*pair) for pair in _pairs(table, first)]
    columns = list(dict.fromkeys(named[k] for k in np.argsort(first).tolist()))
    place = np.array([columns.index(name) for name in named], np.int64)
    begins = groups(table.key("team", "institution", "case"))
    written = [texts_of(getattr(table, name).names) for name in ("team", "institution", "case")]
    at_once = max(1, BLOCK // max(len(columns), 1))

    def blocks() -> Iterator[list[list[str]]]:
        for start in range(0, len(begins) - 1, at_once):
            bounds = begins[start : start + at_once + 1]
            rows = slice(bounds[0], bounds[-1])
            cells = np.full((len(bounds) - 1, len(columns)), np.nan)
            line = np.repeat(np.arange(len(cells)), np.diff(bounds))
            cells[line, place[column_of[rows]]] = table.value[rows]
            heads = table.take(bounds[:-1])
            yield [
                *(
                    _texts(column, text)
                    for column, text in zip((heads.team, heads.institution, heads.case), written, strict=True)
                ),
                *(number_texts(column) for column in cells.T),
            ]

    return csv_columns(("team", "institution", "case", *columns), blocks())


def _pairs(table: ScoreTable, rows: np.ndarray) -> list[tuple[str, str]]:
    """Region and metric of some rows."""
    return list(zip(table.region.take(rows).texts(), table.metric.take(rows).texts(), strict=True))


def teams_csv(table: ScoreTable) -> Iterator[str]:
    """teams.csv: statistics over cases; empty values do not enter (std with ddof 1)."""
    return csv_rows(TEAM_COLUMNS, _team_rows(table))


def _team_rows(table: ScoreTable) -> Iterator[list[Cell]]:
    penalized = table.status.where(PENALIZED.__contains__)
    begins = groups(table.team.codes)
    for begin, end in pairwise(begins.tolist()):
        own = table.take(slice(begin, end))
        first, group = distinct(own, "region", "metric")
        members = np.split(np.argsort(group, kind="stable"), np.cumsum(np.bincount(group))[:-1])
        by_row = np.argsort(first)
        for at, pair in zip(by_row.tolist(), _pairs(own, first[by_row]), strict=True):
            values = own.value[members[at]]
            values = values[~np.isnan(values)]
            statistics: list[Cell] = [None] * 5
            if values.size:
                with np.errstate(invalid="ignore"):
                    spread = float(values.std(ddof=1)) if values.size > 1 else None
                    median, low, high = np.percentile(values, (50, 25, 75)).tolist()
                numbers = (float(values.mean()), spread, median, low, high)
                statistics = [None if number is None else finite(number) for number in numbers]
            lost = int(penalized[begin:end][members[at]].sum())
            yield [own.team.names[own.team.codes[0]], *pair, int(values.size), lost, *statistics]
