"""The table beside the images: institution, cohort and any other column of every case."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.tables import read_rows


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
    header, records = read_rows(path)
    cohorts_of = challenge.cohorts
    column = "case" if "case" in header or cohorts_of is None else cohorts_of.case_column
    if column not in header:
        message = f"{path} has no column {column!r} (found {', '.join(header)})"
        raise UsageError(Problem("error", "CSV003", message, "add it", file=str(path)))
    columns: dict[str, dict[str, str]] = {name: {} for name in header if name != column}
    cohorts: dict[str, str] = {}
    seen: set[str] = set()
    faults: list[Problem] = []
    for line, record in enumerate(records, start=2):
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


def _case_id(challenge: Challenge, written: str) -> str:
    """The id in a written name, as the challenge's file pattern captures it."""
    for pattern in challenge.files.prediction:
        if found := re.fullmatch(pattern, f"{written}.nii.gz"):
            return found["case"]
    return written
