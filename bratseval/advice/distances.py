"""Parameters of boundary metrics: tolerances, and distances that are not in mm."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from bratseval.advice.columns import columns_of, keys, named, ranked
from bratseval.advice.findings import Findings, Spacing
from bratseval.advice.literature import IMPERFECT, PITFALLS, TOLERANCE, Advice
from bratseval.challenge import Challenge

SAME_MM = 1e-3  # spacings that differ by less are equal
# By spacing of the YAML: what it does to distances.
NOT_MM = {
    "voxels": "counted in voxels, which is right for voxels of 1 mm alone",
    "reversed": "measured with the spacings of x and z exchanged, which is right for equal ones alone",
}


def tolerance_unstated(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """A tolerance that the YAML leaves to the default."""
    columns = [
        column
        for column in columns_of(challenge)
        if "tolerance_mm" in column.entry.parameters
        and column.spec.tolerance_mm is None
        and "tolerance_mm" not in column.spec.parameters
    ]
    if columns:
        usual = inspect.signature(columns[0].entry.function).parameters["tolerance_mm"].default
        reason = (
            f"no tolerance is stated, so {usual:g} mm is taken: the choice decides which errors cost anything"
        )
        change = "state it: the distance by which two experts differ on this structure"
        yield Advice("tolerance-unstated", keys(columns, "tolerance_mm"), reason, TOLERANCE, change)


def tolerance_below_voxel(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """A tolerance that no distance between two voxels but 0 is within."""
    finest = [min(size) for size in findings.spacings_mm.values()]
    for column in columns_of(challenge):
        tolerance = column.spec.tolerance_mm
        if not isinstance(tolerance, (int, float)) or column.spec.spacing == "voxels":
            continue
        if above := [edge for edge in finest if tolerance < edge - SAME_MM]:
            reason = (
                f"its tolerance of {tolerance:g} mm is below the voxel size ({min(above):g} mm or more) in "
                f"{len(above)} of {len(finest)} cases: there only boundaries that coincide count as right"
            )
            change = "take a tolerance of at least a voxel, or `smallest_spacing`"
            where = keys([column], "tolerance_mm")
            yield Advice("tolerance-below-voxel", where, reason, IMPERFECT, change)


def spacing_ignored(challenge: Challenge, findings: Findings) -> Iterator[Advice]:
    """Ranked distances that are not in mm; of no effect on voxels for which they happen to be."""
    sizes = findings.spacings_mm.values()
    for how, says in NOT_MM.items():
        columns = [column for column in ranked(challenge, "distances") if column.spec.spacing == how]
        wrong = [size for size in sizes if not _happens_to_be_mm(how, size)]
        if columns and (wrong or not sizes):
            affected = f"; wrong in {len(wrong)} of {len(sizes)} cases" if sizes else ""
            reason = f"distances of {named(columns)} are {says}{affected}"
            change = "`spacing: mm`, unless an official scorer is to be reproduced"
            source = f"{PITFALLS}, P3 (implementation)"
            yield Advice("spacing-ignored", keys(columns, "spacing"), reason, source, change)


def _happens_to_be_mm(how: str, size: Spacing) -> bool:
    if how == "voxels":
        return all(abs(edge - 1) <= SAME_MM for edge in size)
    return abs(size[0] - size[2]) <= SAME_MM
