"""Rows to CSV text and back: one place for column orders and number text.

CSV: UTF-8 without BOM, LF, RFC 4180, shortest round-trip numbers, empty cell = none. Text that a
spreadsheet would run as a formula gets a leading apostrophe on writing and loses it on reading; so does text
that has apostrophes before such a beginning, so that no two names become one.
"""

from __future__ import annotations

import csv
import io
import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np

from bratseval.archives import open_regular
from bratseval.errors import Problem, UsageError, printable
from bratseval.model import Cell

MOST_LINE = 1 << 24  # letters of a line of a table
BLOCK = 20_000  # rows held at a time while a table is written or read
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_WRITTEN_STARTS = (*FORMULA_STARTS, r"\t", r"\r")  # as they stand in a file


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
        guarded = value.startswith(FORMULA_STARTS) or _is_guarded(value)
        return ("'" if guarded else "") + printable(value)
    return number(value)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    """A whole CSV file as text."""
    return "".join(csv_rows(columns, rows))


def csv_rows(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """A CSV file from rows, in pieces of text: rows may come one by one and are not kept."""
    rows = iter(rows)
    block: list[Sequence[Cell]] = [columns]
    while block:
        yield csv_lines(block)
        block = list(islice(rows, BLOCK))


def csv_lines(rows: Iterable[Sequence[Cell]]) -> str:
    """Some rows of a CSV file as text."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([cell(value) for value in row] for row in rows)
    return buffer.getvalue()


def csv_columns(columns: Sequence[str], blocks: Iterable[Sequence[Iterable[str]]]) -> Iterator[str]:
    """The same from blocks of columns that are text already (`texts_of`, `number_texts`): much faster."""
    yield csv_text(columns, ())
    for block in blocks:
        yield "".join(f"{line}\n" for line in map(",".join, zip(*block, strict=True)))


def texts_of(names: Iterable[str]) -> list[str]:
    """Text in a CSV file of every name, quoted where it has to be."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    texts = []
    for name in names:
        buffer.seek(0)
        buffer.truncate()
        writer.writerow((cell(name), ""))  # a row of one empty cell would be quoted
        text = buffer.getvalue()[: -len(",\n")]
        texts.append(name if text == name else text)
    return texts


def number_texts(values: np.ndarray) -> list[str]:
    """Text in a CSV file of every number of a vector; nan and infinity are empty cells."""
    with np.errstate(invalid="ignore"):
        whole = (values == np.trunc(values)) & (np.abs(values) < 1e15)
    numbers = values.tolist()
    texts = list(map(repr, numbers))
    for index in np.flatnonzero(whole | ~np.isfinite(values)).tolist():
        texts[index] = str(int(numbers[index])) if whole[index] else ""
    return texts


def column_name(region: str, metric: str) -> str:
    """Column of a metric in a region in every table with a column per metric and region."""
    return f"{metric}_{region}" if region else metric


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of any CSV as text; BOM and CRLF are accepted, apostrophes removed.

    Raises UsageError naming file and line for what is not a CSV with a header.
    """
    lines = read_lines(path)
    header = next(lines)
    return header, [dict(zip(header, map(unescaped, line), strict=True)) for line in lines]


# By table that a ranking or a summary writes: its columns that are text, and those that are numbers or empty.
_COLUMNS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "leaderboard.csv": (("team",), ("rank", "score")),
    "teams.csv": (TEAM_COLUMNS[:3], TEAM_COLUMNS[3:]),
    "problems.csv": (PROBLEM_COLUMNS, ()),
    "inputs.csv": (INPUT_COLUMNS, ()),
    "significance.csv": (("team", "other", "significant"), ("p_value", "p_adjusted")),
    "stability.csv": (
        ("team",),
        ("rank", "mean_rank", "median_rank", "rank_q025", "rank_q975", "first_share", "same_rank_share"),
    ),
    "rank_frequencies.csv": (("team",), ("rank", "share")),
    "schemes.csv": (("scheme", "team"), ("rank",)),
    "agreement.csv": (("scheme", "other", "same_winner"), ("kendall",)),
    "strata.csv": (("column", "team"), ("score",)),
}


def read_own_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """`read_rows` of a table of ours, by its name: with its columns, and numbers where they belong.

    Raises UsageError for a table that was changed.
    """
    header, rows = read_rows(path)
    texts, numbers = _COLUMNS[path.name]
    if absent := [name for name in (*texts, *numbers) if name not in header]:
        message = f"{path} lacks columns of {', '.join(absent)}"
        raise UsageError(Problem("error", "CSV003", message, "run or rank again", file=str(path)))
    numbers += tuple(name for name in header if name.startswith("leave_one_"))
    for row in rows:
        for name in numbers:
            if row[name] and not _is_finite(row[name]):
                message = f"{path}: {row[name][:100]!r} in column {name} is no number"
                raise UsageError(Problem("error", "CSV005", message, "run or rank again", file=str(path)))
    return header, rows


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def read_lines(path: Path) -> Iterator[list[str]]:
    """`read_numbered` without the numbers."""
    return (cells for _, cells in read_numbered(path))


def read_numbered(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The header of any CSV, then its rows that are not empty, as they stand; one is held at a time.

    Each with the line of the file, from 1, in which it begins: a cell may hold line breaks.
    What is wrong with the file is known at its end: UsageError is raised there, with every line whose
    cells do not fit the header, or where the file cannot be read on.
    """
    faults: list[Problem] = []
    header: list[str] | None = None
    try:
        with io.TextIOWrapper(open_regular(path, follow=True), encoding="utf-8-sig", newline="") as file:
            # By length, so that a file of one endless line does not fill the memory before it is refused.
            reader, before = csv.reader(iter(partial(file.readline, MOST_LINE), ""), strict=True), 0
            for line in reader:
                begins, before = before + 1, reader.line_num
                if header is None:
                    header = [name.strip() for name in line]
                    yield begins, header
                elif len(line) == len(header):
                    if line:
                        yield begins, line
                elif line:
                    message = f"{path}:{begins}: {len(line)} cells, the header has {len(header)}"
                    faults.append(Problem("error", "CSV002", message, file=str(path)))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(
            Problem("error", "CSV001", f"{path} cannot be read as CSV ({why})", file=str(path))
        ) from None
    if header is None:
        raise UsageError(
            Problem("error", "CSV001", f"{path} is empty, a header was expected", file=str(path))
        )
    if len(set(header)) != len(header):
        faults.append(
            Problem("error", "CSV002", f"{path}: a column name occurs twice in the header", file=str(path))
        )
    if faults:
        raise UsageError(faults)


def read_columns(path: Path, columns: Sequence[str]) -> Iterator[list[str]]:
    """The cells of some columns of a CSV, row by row, as they stand. Raises UsageError where it lacks one."""
    lines = read_lines(path)
    header = next(lines)
    if not set(columns) <= set(header):
        deque(lines, maxlen=0)  # what is wrong with the file as a CSV is said first
        raise UsageError(
            Problem("error", "CSV003", f"{path} lacks columns of {', '.join(columns)}", file=str(path))
        )
    places = [header.index(column) for column in columns]
    for line in lines:
        yield [line[place] for place in places]


def unescaped(text: str) -> str:
    """Text of a cell without the apostrophe that keeps a spreadsheet from running it."""
    return text[1:] if _is_guarded(text) else text


def _is_guarded(text: str) -> bool:
    """Whether text has apostrophes before what a spreadsheet would run."""
    return text.startswith("'") and text.lstrip("'").startswith(_WRITTEN_STARTS)
