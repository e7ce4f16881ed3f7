"""Rows to CSV text and back: one place for column orders, number text and sorting.

CSV: UTF-8 without BOM, LF, RFC 4180, shortest round-trip numbers, empty cell = none. Text that a
spreadsheet would run as a formula gets a leading apostrophe on writing and loses it on reading.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from bratseval.errors import Problem, UsageError, printable
from bratseval.model import Cell

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A row of scores.csv."""

    team: str
    institution: str
    case: str
    region: str
    metric: str
    value: float | None
    measured: float | None
    status: str
    reason: str


SCORE_COLUMNS = tuple(field.name for field in fields(ScoreRow))
KEY_COLUMNS = ("team", "institution", "case", "region", "metric")
# Tables of what lies behind the scores of a case: by file, the columns after team and case.
DETAIL_COLUMNS = {
    "lesions.csv": (
        *("region", "lesion", "kind", "reference_volume_mm3", "predicted_volume_mm3"),
        *("predicted_lesions", "dice", "hd95", "nsd"),
    ),
    "landmarks.csv": ("landmark", "initial_error_mm", "error_mm", "improved"),
    "curves.csv": ("region", "curve", "at", "value"),
    "pooled.csv": ("region", "metric", "sum", "count"),
}
TEAM_COLUMNS = (
    "team", "region", "metric", "cases", "penalized", "mean", "std", "median", "q25", "q75",
)  # fmt: skip
PROBLEM_COLUMNS = ("severity", "code", "team", "case", "file", "message", "hint")
INPUT_COLUMNS = ("team", "case", "role", "file", "bytes", "sha256")
# An infinite score has an empty cell, since no table holds `inf`; its reason brings it back on reading.
INFINITE = {"infinite": math.inf, "minus infinite": -math.inf}
# Statuses whose value is the price of something that went wrong with the file or the run.
PENALIZED = {"missing", "invalid", "crashed", "timeout"}


def number(value: float) -> str:
    """Shortest text that reads back as the same number; whole numbers without a point."""
    if not math.isfinite(value):
        raise ValueError(f"{value} must not reach a table")
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def finite(value: float) -> float | None:
    """The number, or None (an empty cell) for nan and infinity."""
    return float(value) if math.isfinite(value) else None


def cell(value: Cell) -> str:
    """Text of one cell."""
    if value is None:
        return ""
    if isinstance(value, str):
        return ("'" if value.startswith(FORMULA_STARTS) else "") + printable(value)
    return number(value)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A whole CSV file as text."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def sort_scores(rows: Iterable[ScoreRow], regions: Sequence[str], metrics: Sequence[str]) -> list[ScoreRow]:
    """Sort rows by the key columns; names the challenge does not know come last, by name."""
    region_order = {name: index for index, name in enumerate(regions)}
    metric_order = {name: index for index, name in enumerate(metrics)}
    return sorted(
        rows,
        key=lambda row: (
            row.team,
            row.institution,
            row.case,
            region_order.get(row.region, len(region_order)),
            row.region,
            metric_order.get(row.metric, len(metric_order)),
            row.metric,
        ),
    )


def scores_csv(rows: Iterable[ScoreRow]) -> str:
    """scores.csv."""
    return csv_text(SCORE_COLUMNS, (_score_cells(row) for row in rows))


def _score_cells(row: ScoreRow) -> list[Cell]:
    cells: list[Cell] = [getattr(row, column) for column in SCORE_COLUMNS]
    for reason, value in INFINITE.items():
        if row.value == value:
            cells[-1] = reason
    return [finite(value) if isinstance(value, float) else value for value in cells]


def column_name(region: str, metric: str) -> str:
    """Column of a metric in a region in every table with a column per metric and region."""
    return f"{metric}_{region}" if region else metric


def cases_csv(rows: Iterable[ScoreRow]) -> str:
    """cases.csv: one row per team and case, a column per metric and region."""
    columns: dict[str, None] = {}
    table: dict[tuple[str, str, str], dict[str, float | None]] = {}
    for row in rows:
        column = column_name(row.region, row.metric)
        columns[column] = None
        value = None if row.value is None else finite(row.value)
        table.setdefault((row.team, row.institution, row.case), {})[column] = value
    return csv_text(
        ("team", "institution", "case", *columns),
        ([*key, *(values.get(column) for column in columns)] for key, values in table.items()),
    )


def teams_csv(rows: Iterable[ScoreRow]) -> str:
    """teams.csv: statistics over cases; empty values do not enter (std with ddof 1)."""
    groups: dict[tuple[str, str, str], list[ScoreRow]] = {}
    for row in rows:
        groups.setdefault((row.team, row.region, row.metric), []).append(row)
    table: list[list[Cell]] = []
    for key, members in groups.items():
        values = np.array([row.value for row in members if row.value is not None])
        penalized = sum(row.status in PENALIZED for row in members)
        statistics: list[Cell] = [None] * 5
        if values.size:
            with np.errstate(invalid="ignore"):
                spread = float(values.std(ddof=1)) if values.size > 1 else None
                median, low, high = (float(np.percentile(values, q)) for q in (50, 25, 75))
            numbers = (float(values.mean()), spread, median, low, high)
            statistics = [None if number is None else finite(number) for number in numbers]
        table.append([*key, int(values.size), penalized, *statistics])
    return csv_text(TEAM_COLUMNS, table)


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of any CSV as text; BOM and CRLF are accepted, apostrophes removed.

    Raises UsageError naming file and line for what is not a CSV with a header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = list(csv.reader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            Problem("error", "CSV001", f"{path} cannot be read as CSV ({error})", file=str(path))
        ) from None
    if not lines:
        raise UsageError(
            Problem("error", "CSV001", f"{path} is empty, a header was expected", file=str(path))
        )
    header = [name.strip() for name in lines[0]]
    faults = [
        Problem(
            "error", "CSV002", f"{path}:{i}: {len(line)} cells, the header has {len(header)}", file=str(path)
        )
        for i, line in enumerate(lines[1:], start=2)
        if line and len(line) != len(header)
    ]
    if len(set(header)) != len(header):
        faults.append(
            Problem("error", "CSV002", f"{path}: a column name occurs twice in the header", file=str(path))
        )
    if faults:
        raise UsageError(faults)
    rows = [dict(zip(header, map(_unescape, line), strict=True)) for line in lines[1:] if line]
    return header, rows


def _unescape(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith((*FORMULA_STARTS, r"\t", r"\r")) else text
