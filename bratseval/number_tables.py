"""CSV files of numbers that a team submits: landmarks, training rounds.

All that is wrong with a file is found at once, each with its line. Accepted in silence: a byte order mark,
CRLF, any order of columns. Anything else that is not a plain CSV is refused, never guessed at.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bratseval.errors import InputError, Problem
from bratseval.files import open_file

MAX_BYTES = 20_000_000
PIECE = 1 << 20
MAX_FAULTS = 20
MOST = 1e12  # beyond it nothing that is submitted is a measure of anything, and squares are no numbers


@dataclass(frozen=True, slots=True)
class NumberTable:
    """Rows of a table: line of the file, id (empty without an id column), numbers by column (nan where the
    cell is none), and what is wrong with them, for the reader to add to: pairs of sentence and remedy."""

    lines: tuple[int, ...]
    ids: tuple[str, ...]
    numbers: tuple[dict[str, float], ...]
    faults: tuple[tuple[str, str], ...]
    ids_are_sure: bool  # false where a row is no row, or an id is empty or repeated


def refusal(path: Path, faults: Sequence[tuple[str, str]]) -> InputError:
    """The error that refuses a table; faults are pairs of sentence and remedy."""
    shown = [
        Problem("error", "CSV011", f"{path}{text}", hint, file=str(path))
        for text, hint in faults[:MAX_FAULTS]
    ]
    if len(faults) > MAX_FAULTS:
        more = f"{path}: {len(faults) - MAX_FAULTS} more faults of this kind"
        shown.append(Problem("error", "CSV011", more, "write the file again", file=str(path)))
    return InputError(shown)


def read_numbers(
    path: Path, columns: Collection[str], *, id_column: str = "", strict: bool = True
) -> NumberTable:
    """Read the given columns as finite numbers and the id column as text.

    strict: refuse further columns. Raises InputError (CSV011) where the file is no such table at all.
    """
    rows = read_lines(path)
    if not rows:
        raise refusal(path, [(": the file is empty, a header was expected", "write the file again")])
    header = [name.strip() for name in rows[0][1]]
    wanted = [*([id_column] if id_column else []), *columns]
    _check_header(path, header, wanted, strict)
    place = {name: header.index(name) for name in wanted}
    faults: list[tuple[str, str]] = []
    lines: list[int] = []
    ids: list[str] = []
    numbers: list[dict[str, float]] = []
    first_line: dict[str, int] = {}
    sure = True
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            text = f":{line}: {len(cells)} cells, the header has {len(header)}"
            faults.append((text, "separate cells by commas and write decimals with a dot"))
            sure = False
            continue
        own = _id(cells[place[id_column]]) if id_column else ""
        if id_column and (not own or own in first_line):
            why = f"repeats line {first_line[own]}" if own else "is empty"
            faults.append((f":{line}: {id_column} {own!r} {why}", "write one row for each"))
            sure = False
        first_line.setdefault(own, line)
        lines.append(line)
        ids.append(own)
        numbers.append(dict.fromkeys(columns, math.nan))
        for name in columns:
            value = number_of(cells[place[name]])
            if value is None:
                text = f":{line}: {name} is {cells[place[name]]!r}, expected a number"
                faults.append((text, "write numbers with a dot as decimal mark"))
            else:
                numbers[-1][name] = value
    return NumberTable(tuple(lines), tuple(ids), tuple(numbers), tuple(faults), sure)


def header_of(path: Path) -> list[str]:
    """Column names of a CSV file. Raises InputError."""
    rows = read_lines(path)
    return [name.strip() for name in rows[0][1]] if rows else []


def read_lines(path: Path, max_bytes: int = MAX_BYTES) -> list[tuple[int, list[str]]]:
    """Cells of every row that is not blank, and the line in which it begins. Raises InputError."""
    try:
        data = bytearray()
        with closing(open_file(path)) as file:
            while piece := file.read(PIECE):
                data += piece
                if len(data) > max_bytes:
                    raise refusal(path, [(f": more than {max_bytes} bytes", "submit the table alone")])
        reader = csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True)
        rows, begins = [], 1
        for cells in reader:
            rows.append((begins, cells))
            begins = reader.line_num + 1
        return [(line, cells) for line, cells in rows if any(cell.strip() for cell in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise refusal(path, [(f": cannot be read as CSV ({error})", "save as UTF-8 text")]) from None


def _check_header(path: Path, header: Sequence[str], wanted: Sequence[str], strict: bool) -> None:
    faults: list[tuple[str, str]] = []
    expected = ",".join(wanted)
    hint = f"the header is {expected}"
    if absent := [name for name in wanted if name not in header]:
        text = f": no column {', '.join(absent)} (found {', '.join(header)[:200]})"
        if len(header) == 1 and ";" in header[0]:
            hint = f"separate columns by commas, not by semicolons: {expected}"
        faults.append((text, hint))
    further = [name for name in header if name not in wanted]
    if strict and further and len(absent) < len(wanted):  # else the header is another one altogether
        faults.append((f": unknown column {', '.join(map(repr, further))[:200]}", hint))
    if len(set(header)) != len(header):
        faults.append((": a column name occurs twice", hint))
    if faults:
        raise refusal(path, faults)


def _id(text: str) -> str:
    """The id without spaces; a whole number without the zeros that some programs add (01, 1.0)."""
    whole = re.fullmatch(r"(\d++)(?:\.0*+)?", text.strip())  # without backtracking
    return (whole[1].lstrip("0") or "0") if whole else text.strip()


def number_of(text: str) -> float | None:
    """The number in a cell, nan or None where there is none; what only Python reads is none."""
    try:
        # Python reads 1_000 and digits of any script, no other program does.
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if abs(value) <= MOST else None
