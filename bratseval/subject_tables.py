"""Tables of subjects: one row a subject, on either side.

A fault of a row costs its subject, a fault of the header the whole table. However many rows share a fault,
it is one problem that names the first of their lines. Accepted in silence: a byte order mark, CRLF, any
order of rows and columns, further columns.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bratseval.errors import Problem
from bratseval.number_tables import number_of, read_lines, refusal

MAX_BYTES = 100_000_000  # two million rows
SHOWN = 5


class Check(NamedTuple):
    """What must not be in a row: test gives (n,) bool of numbers (n, columns), true for rows at fault."""

    what: str
    hint: str
    test: Callable[[np.ndarray], Any]


@dataclass(frozen=True, slots=True)
class Subjects:
    """The usable rows of a table: ids (n,) and numbers (n, columns), in order of the file; and what is wrong
    with the others."""

    ids: tuple[str, ...]
    numbers: np.ndarray
    problems: tuple[Problem, ...]


class _Fault(NamedTuple):
    code: str
    what: str
    hint: str


def read_subjects(
    path: Path,
    id_names: Sequence[str],
    columns: Sequence[Sequence[str]],
    *,
    id_pattern: str = "",
    checks: Sequence[Check] = (),
) -> Subjects:
    """Read the ids and the columns, each under one of several names, as finite numbers.

    id_pattern : its first match in an id is the id. Subjects with several rows are refused, each of them.
    Raises InputError (CSV011) for a file that is no such table at all.
    """
    rows = read_lines(path, MAX_BYTES)
    if not rows:
        raise refusal(path, [(": the file is empty, a header was expected", "write the file again")])
    header = [name.strip() for name in rows[0][1]]
    at_id, *places = _places(path, header, [id_names, *columns])
    found: dict[_Fault, list[tuple[int, str]]] = defaultdict(list)
    no_cells = _Fault(
        "CSV002", f"without the header's {len(header)} cells", "separate cells by commas, decimals with a dot"
    )
    no_id = _Fault("CSV003", f"without an id like {id_pattern or 'the reference has'}", "name every subject")
    no_number = _Fault("CSV016", "without a number", "write finite numbers with a dot as decimal mark")
    pattern = re.compile(id_pattern) if id_pattern else None
    lines: dict[str, list[int]] = defaultdict(list)
    numbers: dict[str, list[float]] = {}
    for line, cells in rows[1:]:
        if len(cells) != len(header):
            found[no_cells].append((line, str(len(cells))))
            continue
        written = cells[at_id].strip()
        match = pattern.search(written) if pattern else None
        own = match[0] if match else "" if pattern else written
        if not own:
            found[no_id].append((line, repr(written)))
            continue
        lines[own].append(line)
        values = [number_of(cells[place]) for place in places]
        if None in values:
            found[no_number].append((line, repr(cells[places[values.index(None)]])))
        else:
            numbers[own] = [value for value in values if value is not None]
    twice = _Fault("CSV004", "of a subject that another row names", "keep one row a subject")
    for own, all_lines in lines.items():
        if len(all_lines) > 1:
            found[twice].append((all_lines[1], own))
            numbers.pop(own, None)
    table = np.array(list(numbers.values())).reshape(len(numbers), len(columns))
    good = np.ones(len(table), bool)
    first = [lines[own][0] for own in numbers]
    for check in checks:
        wrong = check.test(table) & good
        good &= ~wrong
        found[_Fault("CSV016", check.what, check.hint)] += [
            (first[row], " ".join(f"{value:g}" for value in table[row][:3])) for row in np.flatnonzero(wrong)
        ]
    ids = tuple(own for own, usable in zip(numbers, good, strict=True) if usable)
    problems = tuple(_problem(path, fault, places) for fault, places in found.items() if places)
    return Subjects(ids, table[good], problems)


def _problem(path: Path, fault: _Fault, places: Sequence[tuple[int, str]]) -> Problem:
    shown = ", ".join(f"{text[:60]} in line {line}" for line, text in places[:SHOWN])
    more = f", and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    rows = "1 row" if len(places) == 1 else f"{len(places)} rows"
    message = f"{path}:{places[0][0]}: {rows} {fault.what} ({shown}{more}); refused"
    return Problem("error", fault.code, message, fault.hint, file=str(path))


def _places(path: Path, header: Sequence[str], wanted: Sequence[Sequence[str]]) -> list[int]:
    """Where the columns are; of several names the first that occurs. Raises InputError."""
    named = [next((name for name in names if name in header), "") for names in wanted]
    absent = [" or ".join(names) for name, names in zip(named, wanted, strict=True) if not name]
    twice = [name for name in named if name and header.count(name) > 1]
    hint = f"the header is {','.join(names[0] for names in wanted)}"
    if absent and len(header) == 1 and ";" in header[0]:
        hint = f"separate columns by commas, not by semicolons; {hint}"
    faults = []
    if absent:
        faults.append((f": no column {', no column '.join(absent)} (found {', '.join(header)[:200]})", hint))
    if twice:
        faults.append((f": the column {', '.join(twice)} occurs twice", hint))
    if faults:
        raise refusal(path, faults)
    return [header.index(name) for name in named]
