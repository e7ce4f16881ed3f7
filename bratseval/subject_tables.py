"""Tables of subjects: one row a subject, on either side.

A fault of a row costs its subject, a fault of the header the whole table. However many rows share a fault,
it is one problem that names the first of their lines. Accepted in silence: a byte order mark, CRLF, any
order of rows and columns, further columns.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bratseval.errors import Problem
from bratseval.files import open_file
from bratseval.number_tables import number_of, read_lines, refusal

MAX_BYTES = 100_000_000  # two million rows
MAX_NUMBER_BYTES = 1000
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


class _Place(NamedTuple):
    """Where a row is: the address that opens a sentence, and its short name."""

    address: str
    name: str


class _Fault(NamedTuple):
    code: str
    what: str
    hint: str


_Found = dict[_Fault, list[tuple[_Place, str]]]


def read_subjects(
    path: Path,
    id_names: Sequence[str],
    columns: Sequence[Sequence[str]],
    *,
    id_pattern: str = "",
    checks: Sequence[Check] = (),
) -> Subjects:
    """Read the ids and the columns, each under one of several names, as finite numbers.

    id_names : none for a text of one id a line, without a header. id_pattern : its first match in an id is
    the id. Subjects with several rows are refused, each of them.
    Raises InputError (CSV011) for a file that is no such table at all.
    """
    rows = read_lines(path, MAX_BYTES)
    if not rows:
        raise refusal(path, [(": the file is empty, a header was expected", "write the file again")])
    if not id_names:
        id_names, rows = ["id"], [(0, ["id"]), *rows]
    header = [name.strip() for name in rows[0][1]]
    at_id, *at = _places(path, header, [id_names, *columns])
    found: _Found = defaultdict(list)
    no_cells = _Fault(
        "CSV002", f"without the header's {len(header)} cells", "separate cells by commas, decimals with a dot"
    )
    no_id = _Fault("CSV003", f"without an id like {id_pattern or 'the reference has'}", "name every subject")
    no_number = _Fault("CSV016", "without a number", "write finite numbers with a dot as decimal mark")
    pattern = re.compile(id_pattern) if id_pattern else None
    places_of: dict[str, list[_Place]] = defaultdict(list)
    numbers: dict[str, list[float]] = {}
    for line, cells in rows[1:]:
        place = _Place(f"{path}:{line}", f"line {line}")
        if len(cells) != len(header):
            found[no_cells].append((place, str(len(cells))))
            continue
        written = cells[at_id].strip()
        match = pattern.search(written) if pattern else None
        own = match[0] if match else "" if pattern else written
        if not own:
            found[no_id].append((place, repr(written)))
            continue
        places_of[own].append(place)
        values = [number_of(cells[column]) for column in at]
        if None in values:
            found[no_number].append((place, repr(cells[at[values.index(None)]])))
        else:
            numbers[own] = [value for value in values if value is not None]
    twice = _Fault("CSV004", "of a subject that another row names", "keep one row a subject")
    for own, all_places in places_of.items():
        if len(all_places) > 1:
            found[twice].append((all_places[1], f"{own[:40]} in {all_places[0].name} and"))
            numbers.pop(own, None)
    first = {own: all_places[0] for own, all_places in places_of.items()}
    return _judged(numbers, len(columns), first, checks, found, "row")


def read_subject_files(files: Mapping[str, Path], checks: Sequence[Check] = ()) -> Subjects:
    """Read one JSON file a subject, which holds a bare number, as a table of one column; files by id."""
    found: _Found = defaultdict(list)
    numbers: dict[str, list[float]] = {}
    places = {own: _Place(str(path), path.name) for own, path in files.items()}
    no_number = _Fault("CSV016", "without a bare number", "write one finite number, such as 3.25")
    for own, path in sorted(files.items()):
        try:
            with closing(open_file(path)) as file:
                text = file.read(MAX_NUMBER_BYTES).decode("utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            text = str(error)
        value = number_of(text)
        if value is None:
            found[no_number].append((places[own], repr(text[:20])))
        else:
            numbers[own] = [value]
    return _judged(numbers, 1, places, checks, found, "file")


def _judged(
    numbers: Mapping[str, Sequence[float]],
    width: int,
    places: Mapping[str, _Place],
    checks: Sequence[Check],
    found: _Found,
    unit: str,
) -> Subjects:
    """The rows that pass the checks, and a problem for every fault of others."""
    ids = list(numbers)
    table = np.array(list(numbers.values()), np.float64).reshape(len(ids), width)
    good = np.ones(len(ids), bool)
    for check in checks:
        wrong = check.test(table) & good
        good &= ~wrong
        found[_Fault("CSV016", check.what, check.hint)] += [
            (places[ids[row]], " ".join(f"{value:g}" for value in table[row][:3]))
            for row in np.flatnonzero(wrong)
        ]
    problems = tuple(_problem(fault, shown, unit) for fault, shown in found.items() if shown)
    return Subjects(
        tuple(own for own, usable in zip(ids, good, strict=True) if usable), table[good], problems
    )


def _problem(fault: _Fault, found: Sequence[tuple[_Place, str]], unit: str) -> Problem:
    address = found[0][0].address
    shown = ", ".join(f"{text[:60]} in {place.name}" for place, text in found[:SHOWN])
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    what = f"{len(found)} {unit}{'s' if len(found) > 1 else ''} {fault.what}"
    file = address.rpartition(":")[0] if unit == "row" else address
    return Problem("error", fault.code, f"{address}: {what} ({shown}{more}); refused", fault.hint, file=file)


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
