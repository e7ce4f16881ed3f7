"""The table beside the images: institution, cohort and any other column of every case."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import Problem, ReferenceDataError, UsageError
from bratseval.tables import read_numbered, read_rows, unescaped


@dataclass(frozen=True, slots=True)
class Metadata:
    """What is known of the cases, by case id; columns holds every column but the case's."""

    institutions: Mapping[str, str] = field(default_factory=dict)
    cohorts: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def read_metadata(challenge: Challenge, path: Path) -> Metadata:
    """Read the table of cases.

    The case column is `case`, or the one the official mapping file has (NewID); an id may be written
    as a file name without its ending. Raises UsageError for an unknown cohort or a repeated case.
    """
    lines = read_numbered(path)
    _, header = next(lines)
    rows = list(lines)
    cohorts_of = challenge.cohorts
    column = _case_column(challenge, header, path)
    columns: dict[str, dict[str, str]] = {name: {} for name in header if name != column}
    cohorts: dict[str, str] = {}
    seen: set[str] = set()
    faults: list[Problem] = []
    for line, cells in rows:
        record = dict(zip(header, map(unescaped, cells), strict=True))
        case = _case_id(challenge, record[column])
        if case in seen:
            message = f"{path}:{line}: case {case} occurs twice"
            faults.append(Problem("error", "CSV004", message, "keep one row a case", file=str(path)))
        seen.add(case)
        for name, values in columns.items():
            values[case] = values[record[column]] = record[name].strip()
        cohort = record.get(cohorts_of.cohort_column, "").removeprefix("BraTS-") if cohorts_of else ""
        if cohorts_of and cohort and cohort not in cohorts_of.challenges:
            message = f"{path}:{line}: case {case} has the unknown cohort {cohort!r}"
            known = f"known: {', '.join(cohorts_of.challenges)}"
            faults.append(Problem("error", "CSV007", message, known, file=str(path)))
        if cohort:
            cohorts[case] = cohort
    if faults:
        raise UsageError(faults)
    return Metadata(columns.get("institution", {}), cohorts, columns)


def read_case_list(challenge: Challenge, path: Path) -> list[str]:
    """The ids of a CSV with a column of cases, or of a text with an id a line.

    Raises ReferenceDataError for a list that cannot be read, is empty or names a case twice.
    """
    try:
        if path.suffix.lower() == ".csv":
            header, records = read_rows(path)
            column = _case_column(challenge, header, path)
            written = [record[column].strip() for record in records]
        else:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
            written = [line.strip() for line in lines if line.strip()]
    except UsageError as error:
        raise ReferenceDataError(error.problems) from None
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({error})"
        raise ReferenceDataError(
            Problem("error", "CSV001", message, "check --cases", file=str(path))
        ) from None
    cases = [_case_id(challenge, name) for name in written]
    twice = sorted(case for case, count in Counter(cases).items() if count > 1)
    if twice or "" in cases:
        message = f"{path}: {', '.join(map(repr, twice[:10])) or 'a case'} occurs twice or is empty"
        raise ReferenceDataError(Problem("error", "CSV004", message, "keep one row a case", file=str(path)))
    if not cases:
        message = f"{path} names no case"
        raise ReferenceDataError(Problem("error", "SUB011", message, "write an id a line", file=str(path)))
    return cases


def _case_column(challenge: Challenge, header: Sequence[str], path: Path) -> str:
    cohorts = challenge.cohorts
    column = "case" if "case" in header or cohorts is None else cohorts.case_column
    if column not in header:
        message = f"{path} has no column {column!r} (found {', '.join(header)})"
        raise UsageError(Problem("error", "CSV003", message, "add it", file=str(path)))
    return column


def _case_id(challenge: Challenge, written: str) -> str:
    """The id in a written name, as the challenge's file pattern captures it."""
    for pattern in challenge.files.prediction:
        if found := re.fullmatch(pattern, f"{written}.nii.gz") or re.fullmatch(pattern, written):
            groups = found.groupdict()
            return "-".join(filter(None, [groups.get("dataset"), groups["case"]]))
    return written
