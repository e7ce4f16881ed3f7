"""Small records that travel between the parts of bratseval; no behavior."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bratseval.errors import Problem


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to score: a team's prediction of a case.

    prediction is None when the file is missing; refused holds the problems that already rule it
    out (a duplicate id, a symbolic link). cohort names whose rules apply, empty for the challenge's.
    """

    team: str
    case: str
    reference: Path
    prediction: Path | None
    institution: str = ""
    cohort: str = ""
    refused: tuple[Problem, ...] = ()


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
class LesionRow:
    """A reference lesion (tp, fn, ignored) or a spurious predicted lesion (fp)."""

    region: str
    lesion: int
    kind: str
    reference_volume_mm3: float
    predicted_volume_mm3: float
    predicted_lesions: str
    dice: float | None
    hd95: float | None
    nsd: float | None


@dataclass(frozen=True, slots=True)
class InputFile:
    """A file that was read, with its digest."""

    role: str
    file: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class CaseResult:
    """Everything that scoring one case gives."""

    case: Case
    scores: tuple[Score, ...]
    lesions: tuple[LesionRow, ...] = ()
    problems: tuple[Problem, ...] = ()
    inputs: tuple[InputFile, ...] = ()
