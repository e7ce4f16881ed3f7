"""The table beside the images: institution and cohort of every case."""

from __future__ import annotations

import re
from pathlib import Path

from bratseval.challenge import Challenge
from bratseval.errors import Problem, UsageError
from bratseval.tables import read_rows


def read_metadata(challenge: Challenge, path: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Institution and cohort by case id.

    The case column is `case`, or the one the official mapping file has (NewID); an id may be written
    as a file name without its ending. Raises UsageError for an unknown cohort or a repeated case.
    """
    header, records = read_rows(path)
    cohorts_of = challenge.cohorts
    column = "case" if "case" in header or cohorts_of is None else cohorts_of.case_column
    if column not in header:
        message = f"{path} has no column {column!r} (found {', '.join(header)})"
        raise UsageError(Problem("error", "CSV003", message, "add it", file=str(path)))
    institutions: dict[str, str] = {}
    cohorts: dict[str, str] = {}
    faults: list[Problem] = []
    for line, record in enumerate(records, start=2):
        case = _case_id(challenge, record[column])
        if case in institutions:
            message = f"{path}:{line}: case {case} occurs twice"
            faults.append(Problem("error", "CSV004", message, "keep one row a case", file=str(path)))
        institutions[case] = record.get("institution", "")
        cohort = record.get(cohorts_of.cohort_column, "").removeprefix("BraTS-") if cohorts_of else ""
        if cohorts_of and cohort and cohort not in cohorts_of.challenges:
            message = f"{path}:{line}: case {case} has the unknown cohort {cohort!r}"
            known = f"known: {', '.join(cohorts_of.challenges)}"
            faults.append(Problem("error", "CSV007", message, known, file=str(path)))
        if cohort:
            cohorts[case] = cohort
    if faults:
        raise UsageError(faults)
    return institutions, cohorts


def _case_id(challenge: Challenge, written: str) -> str:
    """The id in a written name, as the challenge's file pattern captures it."""
    for pattern in challenge.files.prediction:
        if found := re.fullmatch(pattern, f"{written}.nii.gz"):
            return found["case"]
    return written
