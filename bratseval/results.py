"""The files of a result folder: what is written, atomically, and what is read back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import chain, islice
from pathlib import Path
from sys import intern
from typing import Annotated, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, Strict, ValidationError, model_validator

from bratseval.archives import open_regular
from bratseval.challenge import Rulebook
from bratseval.detail_table import DetailTable, read_details
from bratseval.errors import OutputError, Problem, UsageError, in_order, printable
from bratseval.model import CaseResult, Cell
from bratseval.score_files import read_scores
from bratseval.score_table import Coded, ScoreTable
from bratseval.score_text import cases_csv, scores_csv, teams_csv
from bratseval.state import FOLDER, flush_folder, not_writable, write_part
from bratseval.tables import (
    BLOCK,
    DETAIL_COLUMNS,
    INPUT_COLUMNS,
    PROBLEM_COLUMNS,
    ScoreRow,
    csv_rows,
    read_columns,
    unescaped,
)

SCHEMA_VERSION = 1
MOST_RECORD = 1 << 28  # bytes of run.json, which names every expected case
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

    scores: ScoreTable
    details: Mapping[str, DetailTable]
    problems: Sequence[Problem]
    inputs: Sequence[tuple[Cell, ...]]


def collect(results: Iterable[CaseResult], problems: Iterable[Problem]) -> Results:
    """Rows of all cases."""
    results = list(results)
    scores = ScoreTable.of(
        ScoreRow(
            r.case.team, r.case.institution, r.case.case, *(getattr(score, f.name) for f in fields(score))
        )
        for r in results
        for score in r.scores
    )
    details: dict[str, DetailTable] = {}
    for r in results:
        for table, rows in r.details.items():
            details.setdefault(table, DetailTable()).add(r.case.team, r.case.case, rows)
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


def tables(results: Results, rulebook: Rulebook) -> dict[str, Iterable[str]]:
    """File name -> text in pieces of every table, in the order that is the same for any arrival of rows.

    The scores are in the order of their key columns. The pieces can be taken once.
    """
    own = {name: DetailTable() for name in _OWN_TABLES.get(rulebook.challenge.task, ())}
    return {
        "scores.csv": scores_csv(results.scores),
        "cases.csv": cases_csv(results.scores),
        **{name: _joined(table.csv(name)) for name, table in (own | dict(results.details)).items()},
        "teams.csv": teams_csv(results.scores),
        "problems.csv": csv_rows(
            PROBLEM_COLUMNS, ([getattr(p, c) for c in PROBLEM_COLUMNS] for p in in_order(results.problems))
        ),
        "inputs.csv": csv_rows(
            INPUT_COLUMNS, sorted(set(results.inputs), key=lambda row: tuple(map(str, row)))
        ),
    }


def write_folder(output: Path, files: Mapping[str, str | Iterable[str]], run: Mapping[str, Any]) -> None:
    """Write all files, each whole or not at all; run.json comes last and so marks the folder complete.

    files : name -> text, or its pieces, which are written as they come. Raises OutputError where the disk is
    full, with the bytes of all files.
    """
    record = json.JSONEncoder(indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False).iterencode(run)
    texts = {**files, "run.json": chain(_joined(record), "\n")}
    texts |= {name: (text,) for name, text in files.items() if isinstance(text, str)}
    parts = {name: output / FOLDER / f"{name}.part" for name in texts}
    # backslashreplace: names that are no Unicode, in run.json
    pieces = {
        name: (piece.encode(errors="backslashreplace") for piece in text) for name, text in texts.items()
    }
    needed = 0
    place = output

    def counted(name: str) -> Iterator[bytes]:
        nonlocal needed
        for data in pieces[name]:
            needed += len(data)
            yield data

    try:
        for name, part in parts.items():  # all of them before the first replaces a file
            place = output / name
            write_part(part, counted(name))
        for name in ("run.json", "report.html", *RANKING_FILES):
            place = output / name
            place.unlink(missing_ok=True)
        for name, part in parts.items():
            place = output / name
            os.replace(part, place)
        flush_folder(output)
    except OSError as error:
        for part in parts.values():
            with suppress(OSError):
                part.unlink()
        needed += sum(len(data) for left in pieces.values() for data in left)
        raise not_writable(place, error, needed) from None


def _joined(pieces: Iterable[str]) -> Iterator[str]:
    """The same text in fewer pieces."""
    pieces = iter(pieces)
    while block := "".join(islice(pieces, BLOCK)):
        yield block


def check_output(output: Path, digest: str, overwrite: bool) -> None:
    """Refuse a folder that holds results of another configuration."""
    if (output / "run.json").is_file() and not overwrite:
        found = _read_record(output).get("config")
        if found != digest:
            raise OutputError(
                Problem(
                    "error",
                    "OUT003",
                    f"{output} holds results made under configuration {found}, this one is {digest}",
                    "choose another --output, or --overwrite",
                )
            )


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_Tau = Annotated[float, Field(ge=-1, le=1)]
_Count = Annotated[float, Field(ge=0)]


class _Bootstrap(BaseModel):
    model_config = _STRICT

    draws: int
    kendall_mean: float | None = None  # where all teams tie there is none
    kendall_q025: float | None = None
    kendall_q975: float | None = None
    kendall_counts: list[Annotated[tuple[_Tau, _Count], Strict(False)]] = []

    @model_validator(mode="after")
    def _of_draws(self) -> Self:
        known = (self.kendall_mean, self.kendall_q025, self.kendall_q975)
        if self.kendall_counts and (None in known or not any(count for _, count in self.kendall_counts)):
            raise ValueError("kendall_counts without the values that they add up to")
        return self


class _LeaveOneOut(BaseModel):
    model_config = _STRICT

    changes_winner: list[str]
    changes_podium_share: float


class _Significance(BaseModel):
    model_config = _STRICT

    test: str
    alpha: float
    adjust: str


class _RankingRecord(BaseModel):
    model_config = _STRICT

    rule: str
    # Absent where there is none; null is refused.
    bootstrap: _Bootstrap = _Bootstrap(draws=0)
    leave_one_out: dict[str, _LeaveOneOut] = {}
    significance: _Significance = _Significance(test="", alpha=0, adjust="")


class _RunRecord(BaseModel):
    """What later commands read of run.json; other keys are none of their business."""

    model_config = _STRICT

    challenge: str
    command: str
    complete: bool
    config: str
    configuration: dict[str, Any]
    cohort_configurations: dict[str, dict[str, Any]] = {}
    counts: dict[str, int]
    expected: dict[str, list[str]]
    institutions: list[str]
    order: dict[str, list[str]] = {}
    ranking: _RankingRecord
    seed: int
    shard: Annotated[list[int], Field(min_length=2, max_length=2)]
    signature: str
    version: str


def read_run(folder: Path) -> dict[str, Any]:
    """run.json of a result folder. Raises UsageError where there is none, or one that was changed."""
    record = _read_record(folder)
    try:
        _RunRecord.model_validate(record)
    except ValidationError as error:
        first = error.errors()[0]
        raise _no_record(folder, f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return record


def _read_record(folder: Path) -> dict[str, Any]:
    try:
        with open_regular(folder / "run.json", follow=True) as file:
            text = file.read(MOST_RECORD + 1)
        if len(text) > MOST_RECORD:
            raise _no_record(folder, f"it has more than {MOST_RECORD} bytes")
        record = json.loads(text.decode("utf-8"))
    except OSError as error:
        raise _no_record(folder, str(error.strerror)) from None
    except (ValueError, RecursionError) as error:
        raise _no_record(folder, str(error)) from None
    if not isinstance(record, dict):
        raise _no_record(folder, "it holds no object")
    return record


def _no_record(folder: Path, why: str) -> UsageError:
    message = f"{folder / 'run.json'} is not the record of a run ({why})"
    return UsageError(Problem("error", "CSV006", message, "name a result folder"))


def read_folder(folder: Path) -> Results:
    """The tables of a result folder."""
    return Results(
        read_scores(folder / "scores.csv"),
        {table: read_details(folder, table) for table in DETAIL_COLUMNS if (folder / table).is_file()},
        [
            Problem(**dict(zip(PROBLEM_COLUMNS, row, strict=True)))  # type: ignore[arg-type]
            for row in _rows(folder / "problems.csv", PROBLEM_COLUMNS)
        ],
        [*map(tuple, _rows(folder / "inputs.csv", INPUT_COLUMNS))],
    )


def as_read(results: Results) -> Results:
    """What reading the tables would give: every name and sentence as they show it, scores' names in order."""
    scores = results.scores
    return Results(
        replace(
            scores,
            team=_written(scores.team),
            institution=_written(scores.institution),
            case=_written(scores.case),
            status=_written(scores.status),
            reason=_written(scores.reason),
        ),
        {
            name: DetailTable([(printable(team), printable(case), text) for team, case, text in table.cases])
            for name, table in results.details.items()
        },
        [
            Problem(*(printable(getattr(problem, field.name)) for field in fields(problem)))  # type: ignore[arg-type]
            for problem in results.problems
        ],
        [tuple(printable(str(cell)) for cell in row) for row in results.inputs],
    )


def _written(column: Coded) -> Coded:
    """A column with the names that a table can show, those that a row has, in order."""
    names = sorted({printable(name) for name in column.used})
    place = {name: code for code, name in enumerate(names)}
    codes = np.array([place.get(printable(name), 0) for name in column.names], np.min_scalar_type(len(names)))
    return Coded(codes[column.codes], tuple(names))


def _rows(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The cells of some columns, row by row; those that repeat are one object."""
    for line in read_columns(path, columns):
        yield [intern(unescaped(cell)) for cell in line]
