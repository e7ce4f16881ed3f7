"""How many subjects a table should have, and how many it lacks. Facts: subjects, missing_subjects."""

from __future__ import annotations

from dataclasses import dataclass

from bratseval.metrics.registry import metric


@dataclass(frozen=True, slots=True)
class Counts:
    """Subjects of the reference, and those of them without a usable prediction."""

    subjects: int
    missing: int


@metric("subjects", reads="counts", unit="subjects", best=None, worst=None)
def subjects(counts: Counts) -> float:
    """Number of subjects that are scored."""
    return float(counts.subjects)


@metric("missing_subjects", reads="counts", unit="subjects", best=0.0, worst=float("inf"))
def missing_subjects(counts: Counts) -> float:
    """Number of subjects whose prediction is missing or refused, and therefore penalized."""
    return float(counts.missing)
