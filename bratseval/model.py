"""Small records that travel between the parts of bratseval; no behavior."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bratseval.errors import Problem

Cell = str | float | int | None  # of a table


@dataclass(frozen=True, slots=True)
class Part:
    """One of several files of a case or of a team.

    role: what the YAML calls it, empty for a prediction or reference that comes in several files; region
    and rater (or subject, of a team's files) as its name says; refused: why it must not be read.
    """

    role: str
    path: Path
    region: str = ""
    rater: str = ""
    refused: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to score: a team's prediction of a case, or, with an empty case, a team's own files.

    reference is None for a team's own files, and where a case is only checked. prediction is None when
    the file is missing; refused holds the problems that already rule it out (a duplicate id, a symbolic
    link). cohort names whose rules apply, empty for the challenge's.
    The parts are the further files of either side.
    """

    team: str
    case: str
    reference: Path | None
    prediction: Path | None
    institution: str = ""
    cohort: str = ""
    refused: tuple[Problem, ...] = ()
    reference_parts: tuple[Part, ...] = ()
    prediction_parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Score:
    """Value of one metric of one region.

    value enters means and rankings (None = left out of them); measured is what was measured, None
    where a rule gave the value; status is one of the words of the contract.
    """

    region: str
    metric: str
    value: float | None
    measured: float | None
    status: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read, with its digest."""

    role: str
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Reference:
    """The reference side of a case, read once for all teams; data is what its task makes of it."""

    data: Any
    problems: tuple[Problem, ...] = ()
    grid_shape: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Everything that scoring one case gives; details are rows of further tables, by file name."""

    case: Case
    scores: tuple[Score, ...]
    problems: tuple[Problem, ...] = ()
    inputs: tuple[InputFile, ...] = ()
    details: Mapping[str, tuple[tuple[Cell, ...], ...]] = field(default_factory=dict)
