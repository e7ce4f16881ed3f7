"""Tables of what lies behind the scores (lesions.csv, landmarks.csv, ...): lines of CSV text of each case.

Nothing is computed from most of them, and rows of cells would take ten times the memory of their text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from pathlib import Path
from sys import intern

from bratseval.errors import Problem, UsageError
from bratseval.model import Cell
from bratseval.tables import DETAIL_COLUMNS, csv_lines, csv_text, read_columns, unescaped


@dataclass(frozen=True, slots=True)
class DetailTable:
    """The cases of a table: team, case, and their lines in the order in which the task gave them."""

    cases: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, team: str, case: str, rows: Iterable[Sequence[Cell]]) -> None:
        """Append the rows of a case, given without team and case."""
        if text := csv_lines((team, case, *row) for row in rows):
            self.cases.append((team, case, text))

    def rows(self) -> Iterator[list[str]]:
        """The text of all cells, row by row."""
        for _, _, text in self.cases:
            for line in csv.reader(io.StringIO(text)):
                yield [unescaped(cell) for cell in line]

    def csv(self, name: str) -> Iterator[str]:
        """The file of this name of `DETAIL_COLUMNS`, in pieces, in the order of teams and cases."""
        in_order = sorted(self.cases, key=lambda one: one[:2])
        return chain([csv_text(("team", "case", *DETAIL_COLUMNS[name]), ())], (text for *_, text in in_order))


def joined(tables: Iterable[DetailTable]) -> DetailTable:
    """The cases of several tables."""
    return DetailTable([case for table in tables for case in table.cases])


def read_details(folder: Path, name: str) -> DetailTable:
    """A table of a result folder.

    Raises UsageError where it is no CSV with its columns, or where a sum is no number.
    """
    path, columns = folder / name, ("team", "case", *DETAIL_COLUMNS[name])
    numbers = [columns.index(column) for column in ("sum", "count") if column in columns]
    table = DetailTable()
    for key, own in groupby(read_columns(path, columns), key=lambda line: line[:2]):
        lines = list(own)
        try:
            for line in lines:
                for place in numbers:
                    float(line[place])
        except ValueError as error:
            message = f"{path}: a sum or a count is no number ({error})"
            raise UsageError(Problem("error", "CSV005", message, "score it again", file=str(path))) from None
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(lines)  # as they stand: -1 is a number, '-1 a text
        team, case = (intern(unescaped(cell)) for cell in key)
        table.cases.append((team, case, buffer.getvalue()))
    return table
