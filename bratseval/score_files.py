"""Score tables of any tool to rows: our scores.csv, wide tables, challengeR's long tables."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.ranking.rules import WideColumn
from bratseval.tables import INFINITE, KEY_COLUMNS, ScoreRow, column_name, read_rows

# Column names that the field's tools use, first choice first.
_NAMES: dict[str, tuple[str, ...]] = {
    "team": ("team", "algorithm", "alg_name", "method"),
    "institution": ("institution", "site"),
    "case": ("case", "case_id", "subject", "image"),
    "region": ("region", "task"),
    "metric": ("metric",),
    "value": ("value", "score"),
}
MAX_FAULTS = 50


def read_scores(path: Path, challenge: Challenge | None = None) -> list[ScoreRow]:
    """Rows of a score table; the challenge's `score_table` names columns that are called otherwise.

    Long tables have a value column; without one the table is wide, a column per metric and region.
    Raises UsageError with every problem found, each with its line.
    """
    header, records = read_rows(path)
    columns = _columns(header, challenge)
    wide = {} if "value" in columns else _wide_columns(header, challenge)
    only = challenge.ranking.metrics[0] if challenge and len(challenge.ranking.metrics) == 1 else None
    regions = (challenge.ranking.regions or challenge.scored_regions) if challenge else []
    required = {"team", "case"} if wide else {"team", "case", "region", "metric", "value"}
    required -= ({"metric"} if only else set()) | ({"region"} if len(regions) == 1 else set())
    absent = [name for name in _NAMES if name in required and name not in columns]
    if absent:
        message = f"{path} has no column {', '.join(absent)} (found {', '.join(header)})"
        hint = (
            "expected team, case, region, metric, value and optionally institution, or a column per "
            "metric and region named like dice_WT; `score_table` of the challenge maps other names"
        )
        raise UsageError(Problem("error", "CSV003", message, hint, file=str(path)))
    faults: list[Problem] = []
    rows: list[ScoreRow] = []
    seen: dict[tuple[str, ...], int] = {}
    for line, record in enumerate(records, start=2):
        given = {name: record[column] for name, column in columns.items()}
        key = tuple(given.get(name, "") for name in KEY_COLUMNS)
        if not wide:
            key = (
                *key[:3],
                given.get("region", regions[0] if len(regions) == 1 else ""),
                key[4] or (only or ""),
            )
        if not key[0]:
            faults.append(_fault("CSV005", path, line, "the team is empty", "name it"))
        if key in seen:
            text = ", ".join(filter(None, key))
            faults.append(
                _fault("CSV004", path, line, f"repeats line {seen[key]} ({text})", "keep one of them")
            )
        seen[key] = line
        for column, target in wide.items():
            cells = {"value": record[column], "status": "", "reason": ""}
            _add_row(rows, (*key[:3], target.region, target.metric), cells, path, line, faults)
        if not wide:
            _add_row(rows, key, {**record, "value": given["value"]}, path, line, faults)
    if faults:
        raise UsageError(faults[:MAX_FAULTS])
    return rows


def _columns(header: Sequence[str], challenge: Challenge | None) -> dict[str, str]:
    """What -> column name, for the columns that the table has."""
    found: dict[str, str] = {}
    for name, usual in _NAMES.items():
        stated = getattr(challenge.score_table, name) if challenge else ""
        for candidate in (stated,) if stated else usual:
            if candidate in header:
                found.setdefault(name, candidate)
    return found


def _wide_columns(header: Sequence[str], challenge: Challenge | None) -> dict[str, WideColumn]:
    """Column -> metric and region: as the challenge maps them, or named <metric>_<region>."""
    if challenge is None:
        return {}
    mapped = {name: target for name, target in challenge.score_table.wide.items() if name in header}
    known = dict.fromkeys([*challenge.metrics, *challenge.ranking.metrics])
    for metric in known:
        for region in ("", *challenge.scored_regions):
            name = column_name(region, metric)
            if name in header:
                mapped.setdefault(name, WideColumn(metric=metric, region=region))
    return mapped


def _add_row(
    rows: list[ScoreRow],
    key: Sequence[str],
    cells: Mapping[str, str],
    path: Path,
    line: int,
    faults: list[Problem],
) -> None:
    reason = cells.get("reason", "")
    try:
        value = INFINITE.get(reason) if not cells["value"].strip() else _parse(cells["value"])
        measured = _parse(cells.get("measured", ""))
    except ValueError as error:
        hint = "numbers have a dot as decimal mark; leave the cell of a missing score empty"
        faults.append(_fault("CSV005", path, line, str(error), hint))
        return
    status = cells.get("status") or ("ok" if value is not None else "missing")
    team, institution, case, region, metric = key
    rows.append(ScoreRow(team, institution, case, region, metric, value, measured, status, reason))


def _fault(code: str, path: Path, line: int, message: str, hint: str) -> Problem:
    return Problem("error", code, f"{path}:{line}: {message}", hint, file=str(path))


def _parse(text: str) -> float | None:
    if text.strip() in ("", "NA"):
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if math.isnan(value):
        raise ValueError(f"{text!r} is not a number; leave the cell empty or put the penalty")
    return value


def unranked_rows(rows: Iterable[ScoreRow], challenge: Challenge) -> list[Problem]:
    """Warnings for rows whose metric or region the challenge does not know."""
    counts: dict[tuple[str, str], int] = {}
    known = {
        "metric": {*challenge.metrics, *challenge.ranking.metrics, *challenge.ranking.directions}
        | {breaker.metric for breaker in challenge.ranking.breakers},
        "region": {*challenge.regions, ""},
    }
    for row in rows:
        for kind, name in (("metric", row.metric), ("region", row.region)):
            if name not in known[kind]:
                counts[kind, name] = counts.get((kind, name), 0) + 1
    problems = []
    for (kind, name), n in sorted(counts.items()):
        close = difflib.get_close_matches(name, known[kind], n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(sorted(known[kind] - {''}))}"
        message = f"{n} rows of the {kind} {name!r}, unknown to {challenge.name}, are not ranked"
        problems.append(Problem("warning", "CSV008", message, hint))
    return problems
