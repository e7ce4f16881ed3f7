"""The files of a result folder: what is written, atomically, and what is read back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from bratseval.challenge import Rulebook
from bratseval.errors import OutputError, Problem, UsageError, in_order
from bratseval.model import CaseResult, Cell
from bratseval.score_files import read_scores
from bratseval.state import FOLDER, flush_folder, not_writable
from bratseval.tables import (
    DETAIL_COLUMNS,
    INPUT_COLUMNS,
    PROBLEM_COLUMNS,
    ScoreRow,
    cases_csv,
    csv_text,
    read_rows,
    scores_csv,
    sort_scores,
    teams_csv,
)

SCHEMA_VERSION = 1
# Tables that a task always writes, if only their header.
_OWN_TABLES = {"segmentation": ("lesions.csv",), "registration": ("landmarks.csv",)}
# Files that only a ranking writes: removed first, so that none of an earlier run passes for this one's.
RANKING_FILES = (
    *("leaderboard.csv", "ranks.csv", "significance.csv", "superiority.csv", "stability.csv"),
    *("rank_frequencies.csv", "leave_one_out.csv", "schemes.csv", "agreement.csv", "strata.csv"),
)


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that the tables of a result folder hold."""

    scores: Sequence[ScoreRow]
    details: Mapping[str, Sequence[tuple[Cell, ...]]]
    problems: Sequence[Problem]
    inputs: Sequence[tuple[Cell, ...]]


def collect(results: Iterable[CaseResult], problems: Iterable[Problem]) -> Results:
    """Rows of all cases."""
    results = list(results)
    scores = [
        ScoreRow(
            r.case.team, r.case.institution, r.case.case, *(getattr(score, f.name) for f in fields(score))
        )
        for r in results
        for score in r.scores
    ]
    details: dict[str, list[tuple[Cell, ...]]] = {}
    for r in results:
        for table, rows in r.details.items():
            details.setdefault(table, []).extend((r.case.team, r.case.case, *row) for row in rows)
    inputs = [
        (
            r.case.team if item.role == "prediction" else "",
            r.case.case,
            item.role,
            item.file,
            item.bytes,
            item.sha256,
        )
        for r in results
        for item in r.inputs
    ]
    return Results(scores, details, [*problems, *(p for r in results for p in r.problems)], inputs)


def tables(results: Results, rulebook: Rulebook) -> dict[str, str]:
    """File name -> text of every table, in the order that is the same for any arrival of rows."""
    scores = sort_scores(results.scores, rulebook.regions, rulebook.metrics)
    own: dict[str, Sequence[tuple[Cell, ...]]] = dict.fromkeys(
        _OWN_TABLES.get(rulebook.challenge.task, ()), ()
    )
    return {
        "scores.csv": scores_csv(scores),
        "cases.csv": cases_csv(scores),
        # Stable: within a case the rows keep the order in which its task gave them.
        **{
            table: csv_text(
                ("team", "case", *DETAIL_COLUMNS[table]), sorted(rows, key=lambda row: (row[0], row[1]))
            )
            for table, rows in (own | dict(results.details)).items()
        },
        "teams.csv": teams_csv(scores),
        "problems.csv": csv_text(
            PROBLEM_COLUMNS, ([getattr(p, c) for c in PROBLEM_COLUMNS] for p in in_order(results.problems))
        ),
        "inputs.csv": csv_text(
            INPUT_COLUMNS, sorted(set(results.inputs), key=lambda row: tuple(map(str, row)))
        ),
    }


def write_folder(output: Path, files: Mapping[str, str], run: Mapping[str, Any]) -> None:
    """Write all files, each whole or not at all; run.json comes last and so marks the folder complete."""
    record = json.dumps(run, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
    # backslashreplace: names that are no Unicode, in run.json
    data = {
        name: text.encode(errors="backslashreplace") for name, text in {**files, "run.json": record}.items()
    }
    parts = {name: output / FOLDER / f"{name}.part" for name in data}
    place = output
    try:
        for name, part in parts.items():  # all of them before the first replaces a file
            place = output / name
            with part.open("wb") as file:
                file.write(data[name])
                file.flush()
                os.fsync(file.fileno())
        for name in ("run.json", *RANKING_FILES):
            place = output / name
            place.unlink(missing_ok=True)
        for name, part in parts.items():
            place = output / name
            os.replace(part, place)
        flush_folder(output)
    except OSError as error:
        for part in parts.values():
            part.unlink(missing_ok=True)
        raise not_writable(place, error, sum(map(len, data.values()))) from None


def check_output(output: Path, digest: str, overwrite: bool) -> None:
    """Refuse a folder that holds results of another configuration."""
    if (output / "run.json").is_file() and not overwrite:
        found = read_run(output).get("config")
        if found != digest:
            raise OutputError(
                Problem(
                    "error",
                    "OUT003",
                    f"{output} holds results made under configuration {found}, this one is {digest}",
                    "choose another --output, or --overwrite",
                )
            )


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a result folder. Raises UsageError where there is none."""
    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            Problem("error", "CSV006", f"{path} is not the record of a run ({error})", "name a result folder")
        ) from None
    if not isinstance(record, dict) or "config" not in record:
        raise UsageError(
            Problem("error", "CSV006", f"{path} is not the record of a run", "name a result folder")
        )
    return record


def read_folder(folder: Path) -> Results:
    """The tables of a result folder."""
    return Results(
        read_scores(folder / "scores.csv"),
        {
            table: _numbers(folder / table, ("team", "case", *columns))
            for table, columns in DETAIL_COLUMNS.items()
            if (folder / table).is_file()
        },
        [Problem(**row) for row in _records(folder / "problems.csv", PROBLEM_COLUMNS)],  # type: ignore[arg-type]
        _rows(folder / "inputs.csv", INPUT_COLUMNS),
    )


def _records(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    header, records = read_rows(path)
    if not set(columns) <= set(header):
        raise UsageError(
            Problem("error", "CSV003", f"{path} lacks columns of {', '.join(columns)}", file=str(path))
        )
    return [{column: record[column] for column in columns} for record in records]


def _numbers(path: Path, columns: Sequence[str]) -> list[tuple[Cell, ...]]:
    """Rows of a table whose sums are numbers, so that one below 0 is not taken for a formula again."""
    rows = _rows(path, columns)
    if "sum" not in columns:
        return rows
    try:
        return [(*row[:-2], float(row[-2] or ""), float(row[-1] or "")) for row in rows]
    except ValueError as error:
        message = f"{path}: a sum or a count is no number ({error})"
        raise UsageError(Problem("error", "CSV005", message, "score it again", file=str(path))) from None


def _rows(path: Path, columns: Sequence[str]) -> list[tuple[Cell, ...]]:
    return [tuple(record.values()) for record in _records(path, columns)]
